"""Calls bin/postroom as a script does: a process of its own, another working folder, no activated environment."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
POSTROOM = ROOT / "bin" / "postroom"
DEADLINE_S = 60.0


@dataclass(frozen=True)
class Done:
    """What a call left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return stdout as JSON."""
        return json.loads(self.out)


def clean_environment() -> dict[str, str]:
    """Return an environment in which nothing points to ours."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"} | {
        key: value for key, value in os.environ.items() if key.startswith(("COVERAGE", "COV_"))
    }


def call(*arguments: object, cwd: Path | str = "/", stdin: str | bytes = "", **variables: str) -> Done:
    """Run bin/postroom and wait for it."""
    result = subprocess.run(
        [str(POSTROOM), *map(str, arguments)],
        cwd=cwd,
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        env=clean_environment() | variables,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Done(result.returncode, result.stdout.decode(), result.stderr.decode())


@dataclass(frozen=True)
class StoppedSite:
    """A configuration file in a folder of its own, and calls that use it."""

    file: Path

    def call(self, *arguments: object, stdin: str | bytes = "", cwd: Path | str = "/") -> Done:
        """Run bin/postroom with this configuration, from another folder."""
        return call("--config", self.file, *arguments, stdin=stdin, cwd=cwd)

    def do(self, *arguments: object, stdin: str | bytes = "") -> str:
        """Run what must succeed; returns its stdout."""
        done = self.call(*arguments, stdin=stdin)
        assert done.code == 0, (arguments, done)
        return done.out


def make_site(folder: Path, text: str = "") -> StoppedSite:
    """Write a configuration whose state lies in `folder`; no port is listened on unless `text` says so."""
    file = folder / "postroom.toml"
    file.write_text(text or '[lmtp]\nlisten = ["unix:var/run/lmtp.sock"]\n')
    return StoppedSite(file)
