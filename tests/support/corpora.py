"""Fetches the bounces that others have collected, into build/corpora/: `python -m tests.support.corpora`.

flufl.bounce's own samples lie in its source distribution, those of Mail::DeliveryStatus::BounceParser in Debian's source package. They are real mail of
real people, so they are not kept here, and a test names them by file only. Needs pip, apt-get and tar; apt gets a state of its own, so
that nothing of this machine is changed. `corpus` says where one lies: without it a test skips on a laptop and fails in CI.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "corpora"
SOURCES = """Types: deb-src
URIs: http://deb.debian.org/debian
Suites: {suite}
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
PARSER = "libmail-deliverystatus-bounceparser-perl"
SUITES = ("bookworm", "trixie", "sid")
SIZES = {
    "flufl": 117,
    "parser": 126,
}  # samples; another number is another corpus, whose labels nobody has looked at
FETCH_S = 300.0


class Missing(Exception):
    """A corpus cannot be fetched; str() says why."""


def corpus(name: str) -> tuple[Path, ...]:
    """Return the samples of a corpus by name of their files; skips the test that asks when they are not there, in CI fails it."""
    files = _samples(name)
    if len(files) != SIZES[name]:
        reason = f"build/corpora/{name} is missing: python -m tests.support.corpora"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return files


def read_samples(name: str) -> dict[str, bytes]:
    """Return the octets of each sample, by "flufl/dsn_01.txt"."""
    return {f"{name}/{path.name}": path.read_bytes() for path in corpus(name)}


def _samples(name: str) -> tuple[Path, ...]:
    folder = FOLDER / name
    return tuple(sorted((*folder.glob("*.txt"), *folder.glob("*.msg"))))


def fetch_flufl(work: Path) -> Path:
    """Download the source distribution of the version in requirements.lock, held to its hash there."""
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.search(r"(?m)^flufl-bounce==(?:.*\\\n)+.*", lock)
    if pinned is None:
        raise Missing("requirements.lock has no flufl-bounce")
    wanted = work / "wanted.txt"
    wanted.write_text(pinned[0] + "\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
    _run([*pip, "--require-hashes", "--no-binary", ":all:", "--dest", str(work), "-r", str(wanted)], work)
    return _only(work, "flufl*.tar.gz")


def fetch_parser(work: Path) -> Path:
    """Download Debian's source package; its changes may be gone from a mirror, the original is what we want."""
    problem = ""
    for suite in SUITES:
        apt = _private_apt(work, suite)
        try:
            _run([*apt, "update"], work)
            _run([*apt, "source", "--download-only", PARSER], work)
        except Missing as error:
            problem = str(error)
        if list(work.glob("*.orig.tar.*")):
            return _only(work, "*.orig.tar.*")
    raise Missing(problem)


def _private_apt(work: Path, suite: str) -> list[str]:
    """Return apt-get with its own sources, lists and cache."""
    for folder in ("lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    sources = work / "own.sources"
    sources.write_text(SOURCES.format(suite=suite))
    options = {
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": work / "lists",
        "Dir::Cache": work / "cache",
        "APT::Sandbox::User": "root",
    }
    return ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _only(work: Path, pattern: str) -> Path:
    found = [path for path in work.glob(pattern) if path.suffix != ".asc"]
    if len(found) != 1:
        raise Missing(f"{pattern}: {len(found)} files")
    return found[0]


def _run(command: list[str], folder: Path) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=FETCH_S,
        check=False,
    )
    if done.returncode:
        raise Missing(f"{command[0]} exits {done.returncode}: {done.stdout[-2000:]}")


def unpack(archive: Path, inside: str, target: Path) -> None:
    """Write the samples of an archive, those in a folder `inside`, flat into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            path = Path(member.name)
            if (
                member.isfile()
                and path.parent.as_posix().endswith(inside)
                and path.suffix in (".txt", ".msg")
            ):
                octets = tar.extractfile(member)
                assert octets is not None
                (target / path.name).write_bytes(octets.read())


def main() -> int:
    """Fetch what is not there yet."""
    for name, fetch, inside in (
        ("flufl", fetch_flufl, "/tests/data"),
        ("parser", fetch_parser, "/t/corpus"),
    ):
        if len(_samples(name)) == SIZES[name]:
            continue
        print(f"fetching {name} into {FOLDER / name}", flush=True)
        with tempfile.TemporaryDirectory(prefix="corpora-") as work:
            try:
                unpack(fetch(Path(work)), inside, FOLDER / name)
            except (Missing, OSError, subprocess.SubprocessError, tarfile.TarError) as error:
                print(f"{name}: {error}", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
