"""Unpacks Debian's MTAs and mail clients side by side under build/mta/, without installing them: `python3 tests/support/debian.py`.

As packages they exclude each other, start daemons and ask questions; unpacked they do none of it, and several fit beside each other. Needs
apt-get and dpkg-deb, no root, nothing but Python's standard library (it runs before there is an environment). What a package needs and this
machine lacks is unpacked into the same folder. Accounts are not made: tests/support/jail.py lends those that an MTA insists on.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "build" / "mta"
# folder -> packages: four MTAs, and two clients that speak LMTP.
PACKAGES = {
    "postfix": ("postfix",),
    "exim": ("exim4-daemon-light",),
    "sendmail": ("sendmail-bin", "sendmail-cf", "m4"),
    "opensmtpd": ("opensmtpd",),
    "swaks": ("swaks",),
    "msmtp": ("msmtp",),
}
DOWNLOAD_S = 300.0
# Directories of "/" that are symbolic links into /usr on every Debian of today, while packages still name them.
MERGED = ("bin", "sbin", "lib", "lib64")


def root_of(name: str) -> Path | None:
    """Return the folder that an MTA or client is unpacked in, as if it were "/"; None when it is not there."""
    return FOLDER / name if (FOLDER / name / ".complete").exists() else None


def unpack(name: str) -> None:
    """Download and unpack one MTA or client. Raises CalledProcessError, whose output says why."""
    target = FOLDER / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="debian-") as folder:
        _run(["apt-get", "download", *_missing_packages(PACKAGES[name])], folder)
        for package in sorted(Path(folder).glob("*.deb")):
            _run(["dpkg-deb", "-x", str(package), str(target)], folder)
    for merged in MERGED:
        if (target / merged).is_dir():
            shutil.copytree(target / merged, target / "usr" / merged, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(target / merged)
    (target / ".complete").touch()


def _missing_packages(packages: Sequence[str]) -> list[str]:
    """Return the packages and those that they depend on and that are not installed here."""
    plan = _run(["apt-get", "--simulate", "--no-install-recommends", "install", *packages], "/")
    words = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    new = {
        line[1] for line in words if not line[2].startswith("[")
    }  # "[old version]": an upgrade, not needed
    return sorted({*packages, *new})


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
    """Unpack what is not there yet."""
    for name in PACKAGES:
        if root_of(name) is None:
            print(f"unpacking {name} into {FOLDER / name}", flush=True)
            try:
                unpack(name)
            except (subprocess.SubprocessError, OSError) as error:
                print(f"{name}: {error}\n{getattr(error, 'output', None) or ''}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
