"""bin/postroom as scripts call it: exit codes, --config in any place, one line for what went wrong."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.postroom_cli import POSTROOM, ROOT, call, clean_environment, make_site

pytestmark = pytest.mark.slow

COMMANDS = {
    "config": ["check", "show", "sample"],
    "lists": ["create", "show", "set", "remove", "ls"],
    "members": ["add", "ls", "remove", "set"],
    "bans": ["add", "rm", "ls"],
    "held": ["ls", "show", "accept", "reject", "discard"],
    "queues": ["ls", "pause", "resume"],
    "shunt": ["ls", "show", "retry", "drop"],
    "trace": [],
    "why": [],
    "send": [],
    "demo": [],
}


def test_help_lists_every_noun() -> None:
    done = call("--help")
    assert done.code == 0
    assert all(f"\n  {noun} " in done.out for noun in COMMANDS)


@pytest.mark.parametrize("noun", [noun for noun in COMMANDS if COMMANDS[noun]])
def test_every_noun_has_its_verbs(noun: str) -> None:
    done = call(noun, "--help")
    assert done.code == 0
    assert all(f"\n  {verb} " in done.out for verb in COMMANDS[noun])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--config", "F", "lists", "ls", "--json"],
        ["lists", "--config", "F", "ls", "--json"],
        ["lists", "ls", "--config", "F", "--json"],
        ["lists", "ls", "--json", "--config=F"],
    ],
)
def test_config_may_stand_in_any_place(tmp_path: Path, arguments: list[str]) -> None:
    site = make_site(tmp_path)
    site.do("lists", "create", "ant@example.org")
    done = call(*(text.replace("F", str(site.file)) if "F" in text else text for text in arguments))
    assert (done.code, done.err) == (0, "")
    assert [row["address"] for row in done.json()] == ["ant@example.org"]


def test_the_configuration_is_found_by_environment_and_folder(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    assert str(site.file) in call("config", "check", POSTROOM_CONFIG=str(site.file)).out
    assert str(site.file) in call("config", "check", cwd=tmp_path).out


@pytest.mark.parametrize(
    "arguments", [["lists", "sl"], ["nonsense"], ["lists", "ls", "--nosuch"], ["trace"], ["lists"], []]
)
def test_wrong_use_exits_2(arguments: list[str]) -> None:
    done = call(*arguments)
    assert done.code == 2
    assert done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[lmtp]\nlisten = 3\n", ":2: [lmtp] listen"),
        ("[lmtp]\nlisen = []\n", "did you mean listen"),
        ("[", "not TOML"),
    ],
)
@pytest.mark.parametrize("arguments", [["config", "check"], ["lists", "ls"]])
def test_bad_configuration_exits_78_and_names_the_place(
    tmp_path: Path, text: str, named: str, arguments: list[str]
) -> None:
    done = make_site(tmp_path, text).call(*arguments)
    assert done.code == 78
    assert named in done.err
    assert done.err.count("\n") == 1


def test_a_configuration_that_is_named_but_missing_exits_78(tmp_path: Path) -> None:
    done = call("--config", tmp_path / "none.toml", "lists", "ls")
    assert done.code == 78
    assert "none.toml" in done.err


def test_the_sample_is_a_good_configuration_and_show_shows_it(tmp_path: Path) -> None:
    site = make_site(tmp_path, call("config", "sample").out)
    assert site.call("config", "check").code == 0
    assert site.call("config", "show", "--json").json()["site"]["var"] == str(tmp_path / "var")
    shown = make_site(tmp_path, site.do("config", "show"))
    assert shown.call("config", "check").code == 0


def test_a_reader_that_goes_away_gets_no_traceback(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    site.do("lists", "create", "ant@example.org")
    site.do(
        "members",
        "add",
        "ant@example.org",
        "--file",
        "-",
        stdin="".join(f"m{n}@x.org\n" for n in range(5000)),
    )
    command = f"{POSTROOM} --config {site.file} members ls ant@example.org | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout.split(), done.stderr) == (["member", "m0@x.org"], "")


def test_a_full_device_is_told(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [POSTROOM, "--config", site.file, "config", "show"],
            env=clean_environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "Traceback" not in done.stderr


def copy_scripts(folder: Path) -> Path:
    """Copy what a checkout without `make setup` has."""
    (folder / "bin").mkdir()
    shutil.copy(POSTROOM, folder / "bin" / "postroom")
    for name in ("admin", "config"):
        shutil.copytree(ROOT / name, folder / name)
    return folder / "bin" / "postroom"


def run_plain(*command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        env=clean_environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_without_an_environment_it_says_make_setup(tmp_path: Path) -> None:
    base = Path(os.path.realpath(sys.executable))
    done = run_plain(base, copy_scripts(tmp_path), "--help")
    assert done.returncode == 1
    assert "make setup" in done.stderr
    assert done.stderr.count("\n") == 1


def test_half_an_environment_says_make_setup(tmp_path: Path) -> None:
    script = copy_scripts(tmp_path)
    venv.create(tmp_path / ".venv", with_pip=False, symlinks=True)
    done = run_plain(Path(os.path.realpath(sys.executable)), script, "--help")
    assert done.returncode == 1
    assert "make setup" in done.stderr


def test_in_an_environment_of_something_else_it_uses_its_own(tmp_path: Path) -> None:
    venv.create(tmp_path / "other", with_pip=False, symlinks=True)
    done = run_plain(tmp_path / "other" / "bin" / "python", POSTROOM, "--help")
    assert done.returncode == 0, done.stderr


def test_it_works_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "postroom").symlink_to(POSTROOM)
    done = run_plain(tmp_path / "postroom", "--help")
    assert done.returncode == 0, done.stderr
