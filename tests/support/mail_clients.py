"""Real clients that speak LMTP, as a person or a script would start them: swaks and msmtp, unpacked or installed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support import debian
from tests.support.mta import cannot

RUN_S = 60.0


def run_swaks(*arguments: str, message: Path) -> subprocess.CompletedProcess[str]:
    """Send a file with swaks by LMTP; the result has the whole dialogue."""
    command = _program("swaks")
    return _run(
        ["perl", str(command), "--protocol", "LMTP", "--data", f"@{message}", *arguments],
        _environment("swaks"),
    )


def run_msmtp(*arguments: str, message: Path) -> subprocess.CompletedProcess[str]:
    """Send a file with msmtp by LMTP."""
    common = ["--protocol=lmtp", "--tls=off", "--auth=off", "--file=/dev/null"]
    return _run([str(_program("msmtp")), *common, *arguments], _environment("msmtp"), message)


def _program(name: str) -> Path:
    root = debian.root_of(name)
    found = root / "usr/bin" / name if root else shutil.which(name)
    if found is None:
        cannot(f"{name} is not there: run `python3 tests/support/debian.py`")
    return Path(found or "")


def _environment(name: str) -> dict[str, str]:
    """Return an environment in which an unpacked program finds its libraries and its Perl modules."""
    usr = (debian.root_of(name) or Path("/")) / "usr"
    libraries = [str(folder) for folder in usr.glob("lib/*-linux-gnu*")]
    modules = [
        *usr.glob("share/perl*"),
        *usr.glob("share/perl/*"),
        *usr.glob("lib/*/perl*/*"),
        *usr.glob("lib/*/perl-base"),
    ]
    paths = {"LD_LIBRARY_PATH": ":".join(libraries), "PERL5LIB": ":".join(map(str, modules))}
    return {**os.environ, **(paths if usr != Path("/usr") else {}), "LC_ALL": "C"}


def _run(
    command: Sequence[str], environment: dict[str, str], message: Path = Path("/dev/null")
) -> subprocess.CompletedProcess[str]:
    with message.open("rb") as content:
        return subprocess.run(
            command,
            env=environment,
            stdin=content,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
