"""Runs one target under atheris (libFuzzer): inputs that reach new code are kept and changed further.

    python -m tests.fuzz.fuzz TARGET [libFuzzer's options] [FOLDER...]

With a file in place of a folder, that input alone is run: the way to replay a crash. The packages are instrumented as they are imported, so nothing of
ours may be imported before. `make fuzz` calls this for each target in turn, see all.py.
"""

import os
import sys
from collections.abc import Sequence

import atheris

PACKAGES = ["lmtp", "lists", "email"]  # email: its parser reads odd addresses


def main(argv: Sequence[str]) -> None:
    """Fuzz until libFuzzer ends the process."""
    if len(argv) < 2:
        raise SystemExit(__doc__)
    with atheris.instrument_imports(include=PACKAGES):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([argv[0], *argv[2:]], TARGETS[argv[1]])
    os.nice(10)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv)
