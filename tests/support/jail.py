"""A process tree of its own for an unpacked MTA: there it finds itself, its accounts and its spool where it was compiled to be.

    jail = Jail("exim", folder, files={"exim4/exim4.conf": TEXT}, spool={"/var/spool/exim4": "Debian-exim"})
    jail.start("exim4", "-bdf")

A mount, UTS and process namespace: the package's /usr lies over the machine's, /etc is a copy that gets `files` and the accounts that Debian's
packages make, /run is empty, and `spool` are folders that lie in `folder` outside. The network is the machine's. Ending the first
process ends all of them, whatever they do, and the mounts go with them. Needs root and util-linux, which every Debian has.
"""

import grp
import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from tests.support import debian
from tests.support.mta import cannot

HOST = "mx.example.net"  # Sendmail sleeps a minute when its machine's name has no dot
RUN_S = 60.0
STOP_S = 20.0

# Account -> id where the machine has none of that name; a group of the same name and id belongs to each.
ACCOUNTS = {"Debian-exim": 64801, "smmta": 64802, "smmsp": 64803, "opensmtpd": 64804, "opensmtpq": 64805}

# Overlays cannot be stacked over a folder that holds one of their own layers, so /usr and /etc, where no checkout lies, get one and /var does not.
MOUNT = """\
root=$1 folder=$2; shift 2
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/upper /run/work
mount -t overlay -o "lowerdir=$root/usr:/usr" overlay /usr
mount -t overlay -o "lowerdir=$root/etc:/etc,upperdir=/run/upper,workdir=/run/work" overlay /etc
cp -R "$folder/etc/." /etc
while [ "$1" != -- ]; do
  case $2 in
    /var/spool/*|/var/lib/*) top=${2#/var/}; top=/var/${top%%/*}
      mountpoint -q "$top" || mount -t tmpfs -o mode=755 tmpfs "$top" ;;
  esac
  mkdir -p "$2"
  mount --bind "$1" "$2"
  shift 2
done
shift
cd /
exec "$@"
"""


def root_of(name: str) -> Path:
    """Return the folder that a package was unpacked in; without it or without root the test is skipped, but fails in CI."""
    found = debian.root_of(name)
    if found is None:
        cannot(f"{name} is not there: run `python3 tests/support/debian.py`")
    if os.geteuid() != 0:
        cannot(f"{name} needs accounts and mounts of its own, which only root can give it")
    assert found is not None
    return found


class Jail:
    """One namespace and what runs in it."""

    def __init__(
        self,
        name: str,
        folder: Path,
        *,
        files: Mapping[str, str],
        spool: Mapping[str, str],
        binds: Mapping[str, Path] | None = None,
    ) -> None:
        """`files`: path below /etc -> text. `spool`: path inside -> account that owns it. `binds`: path inside -> folder outside."""
        self._root = root_of(name)
        self._folder = folder
        self._output = folder / "output.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self._mounts = dict(binds or {})
        for path, account in spool.items():
            self._mounts[path] = _make_folder(self.outside(path), account)
        for path, text in (_accounts() | dict(files)).items():
            file = folder / "etc" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    def outside(self, path: str) -> Path:
        """Return where a folder of `spool` is seen from outside."""
        return self._folder / path.strip("/").replace("/", "-")

    def start(self, *command: str) -> None:
        """Start the first process of the namespace; its output goes to a file in `folder`."""
        mounts = [str(part) for inside, outside in self._mounts.items() for part in (outside, inside)]
        namespaces = ("--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        script = ("sh", "-ec", f"hostname {HOST}\n{MOUNT}", "jail", str(self._root), str(self._folder))
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                ["unshare", *namespaces, *script, *mounts, "--", *command],
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def run(self, *command: str) -> str:
        """Run one more program in the namespace and return its output."""
        first = self._first()
        assert first is not None, "the jail is empty"
        done = subprocess.run(
            ["nsenter", f"--target={first.pid}", "--mount", "--uts", "--pid", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=RUN_S,
            check=False,
        )
        return done.stdout

    def is_alive(self) -> bool:
        """Whether the first process runs."""
        return self._process is not None and self._process.poll() is None

    def output(self) -> str:
        """Return what the processes wrote to stdout and stderr."""
        return self._output.read_text(errors="replace") if self._output.exists() else ""

    def stop(self) -> None:
        """End the first process, and so all of them; returns when none is left."""
        process, first = self._process, self._first()
        if process is None:
            return
        (first or process).kill()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _first(self) -> psutil.Process | None:
        """Return the first process of the namespace: the child of `unshare`, which waits for it."""
        if not self.is_alive():
            return None
        assert self._process is not None
        children: list[psutil.Process] = psutil.Process(self._process.pid).children()
        return children[0] if children else None


def account_id(account: str) -> int:
    """Return the user id of an account as it is inside."""
    try:
        return pwd.getpwnam(account).pw_uid
    except KeyError:
        return ACCOUNTS[account]


def _make_folder(folder: Path, account: str) -> Path:
    folder.mkdir(parents=True, mode=0o711)
    os.chown(folder, account_id(account), -1)
    return folder


def _accounts() -> dict[str, str]:
    """Return passwd, group and hosts with what the packages would have added."""
    users, groups = Path("/etc/passwd").read_text(), Path("/etc/group").read_text()
    known = {each.gr_name for each in grp.getgrall()}
    for name, number in ACCOUNTS.items():
        if account_id(name) == number:
            users += f"{name}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n"
        if name not in known:
            groups += f"{name}:x:{number}:\n"
    return {"passwd": users, "group": groups, "hosts": f"127.0.0.1 localhost {HOST}\n"}
