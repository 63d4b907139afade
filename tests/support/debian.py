"""Unpacks Debian's MTAs side by side under build/mta/, without installing them: `python3 tests/support/debian.py`.

As packages they exclude each other, start daemons and ask questions; unpacked they do none of it, and several fit beside each other. Needs
apt-get and dpkg-deb, no root, nothing but Python's standard library (it runs before there is an environment). What a package needs and this
machine lacks is unpacked into the same folder. Accounts are not made: the configurations in tests/ use those that every Debian has.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "mta"
MTAS = {"postfix": "postfix"}  # folder -> package; others follow with the tests that need them
DOWNLOAD_S = 300.0


def root_of(mta: str) -> Path | None:
    """Return the folder that an MTA is unpacked in, as if it were "/"; None when it is not there."""
    return FOLDER / mta if (FOLDER / mta / ".complete").exists() else None


def unpack(mta: str) -> None:
    """Download and unpack one MTA. Raises CalledProcessError, whose output says why."""
    target = FOLDER / mta
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        _run(["apt-get", "download", *_missing_packages(MTAS[mta])], folder)
        for package in sorted(Path(folder).glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(target)], folder)
    (target / ".complete").touch()


def _missing_packages(package: str) -> list[str]:
    """Return the package and those that it depends on and that are not installed here."""
    plan = _run(["apt-get", "--simulate", "--no-install-recommends", "install", package], "/")
    words = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    new = {
        line[1] for line in words if not line[2].startswith("[")
    }  # "[old version]": an upgrade, not needed
    return sorted({package, *new})


def _run(command: Sequence[str], folder: str) -> str:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=DOWNLOAD_S,
    ).stdout


def main() -> int:
    """Unpack the MTAs that are not there yet."""
    for mta in MTAS:
        if root_of(mta) is None:
            print(f"unpacking {mta} into {FOLDER / mta}", flush=True)
            try:
                unpack(mta)
            except (subprocess.SubprocessError, OSError) as error:
                print(f"{mta}: {error}\n{getattr(error, 'output', None) or ''}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
