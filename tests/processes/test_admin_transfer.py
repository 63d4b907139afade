"""`lists export` and `lists import` as commands: through files and pipes, whole or not at all."""

import json
import stat
import subprocess
from pathlib import Path

import pytest

from tests.support.postroom_cli import POSTROOM, StoppedSite, clean_environment, make_site

pytestmark = pytest.mark.slow

ANT = "ant@example.org"


@pytest.fixture
def site(tmp_path: Path) -> StoppedSite:
    made = make_site(tmp_path)
    made.do("lists", "create", ANT, "--owner", "owner@example.net", "--set", "subject_prefix=[ant] ")
    made.do("members", "add", ANT, "anne@example.net", "bart@example.net")
    made.do(
        "members",
        "set",
        ANT,
        "bart@example.net",
        "delivery=no",
        "display_name=Bart Ü",
        "--also",
        "b@work.example",
    )
    made.do("bans", "add", ANT, "^.*@spam\\.example$")
    return made


def facts(site: StoppedSite, name: str) -> object:
    shown = json.loads(site.do("lists", "show", name, "--json"))
    members = json.loads(site.do("members", "ls", name, "--json"))
    bans = json.loads(site.do("bans", "ls", name, "--json"))
    return shown["settings"], shown["owners"], members, [ban["pattern"] for ban in bans]


def test_a_removed_list_comes_back_from_its_file(site: StoppedSite, tmp_path: Path) -> None:
    before = facts(site, ANT)
    file = tmp_path / "ant.jsonl"
    site.do("lists", "export", ANT, "--output", file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert site.call("lists", "import", file).code == 1  # there is such a list
    site.do("lists", "remove", ANT)
    assert "2 members" in site.do("lists", "import", file)
    assert facts(site, ANT) == before
    told = json.loads(site.do("members", "log", ANT, "bart@example.net", "--json"))
    assert ("joined", f"from {file}") in [(entry["what"], entry["why"]) for entry in told]


def test_a_list_goes_through_a_pipe_to_another_address(site: StoppedSite) -> None:
    written = site.do("lists", "export", ANT)
    assert "Bart Ü" in written
    assert "bee@example.org created" in site.do(
        "lists", "import", "-", "--address", "bee@example.org", stdin=written
    )
    assert facts(site, "bee@example.org") == facts(site, ANT)


def test_a_file_that_was_cut_off_makes_nothing(site: StoppedSite, tmp_path: Path) -> None:
    cut = site.do("lists", "export", ANT).rsplit("\n", 2)[0]
    done = site.call("lists", "import", "-", "--address", "bee@example.org", stdin=cut)
    assert done.code == 1
    assert "the file was cut off" in done.err
    assert len(json.loads(site.do("lists", "ls", "--json"))) == 1
    assert site.call("lists", "import", tmp_path / "none").code == 1
    assert site.call("lists", "export", "cat@example.org").code == 1


def test_an_export_that_cannot_be_written_leaves_no_file(site: StoppedSite, tmp_path: Path) -> None:
    done = site.call("lists", "export", ANT, "--output", tmp_path / "none" / "ant.jsonl")
    assert done.code == 1
    assert "ant.jsonl" in done.err
    command = [str(POSTROOM), "--config", str(site.file), "lists", "export", ANT]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=clean_environment(), check=False
        )
    assert result.returncode == 1
    assert b"No space left" in result.stderr


def test_a_hundred_thousand_members_go_out_and_in_within_seconds(site: StoppedSite, tmp_path: Path) -> None:
    """Nothing grows with the square: five seconds for both, measured beside seven other builds."""
    file = tmp_path / "big.jsonl"
    head = site.do("lists", "export", ANT).splitlines()[0]
    with file.open("w") as stream:
        stream.write(head + "\n")
        for number in range(100_000):
            stream.write(
                f'{{"line":"member","address":"m{number}@example.net","joined_at":"2033-01-01T00:00:00Z"}}\n'
            )
        stream.write('{"line":"end","lines":100000}\n')
    assert "100000 members" in site.do("lists", "import", file, "--address", "big@example.org")
    site.do("lists", "export", "big@example.org", "--output", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes().count(b"\n") == 100_002
