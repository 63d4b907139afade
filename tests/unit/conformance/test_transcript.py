"""Reading stories: what each word means, and that a slip of the pen is found before anything is told."""

from pathlib import Path

import pytest

from tests.support.transcript import (
    Act,
    Expect,
    Says,
    Secure,
    Send,
    Store,
    Stored,
    Story,
    TranscriptError,
    read_story,
    stories,
    unescape,
)

HEAD = "# What it shows.\nClause: RFC 2033 4.2; RFC 5321 4.1\n"


def read(tmp_path: Path, text: str) -> Story:
    """Read a story of this text."""
    file = tmp_path / "told.txt"
    file.write_text(text, "utf-8")
    return read_story(file)


def test_each_word_is_a_step(tmp_path: Path) -> None:
    """In their order, with the line they stand on."""
    story = read(
        tmp_path,
        HEAD
        + "Setting: max_size = 9\nGiven: lists create a@b\nFault: storage\nPace: whole\nSocket: tcp\n"
        + "# why\nC: NOOP\nRAW*2: a{n}\\r\nS*3: 250 2.0.0 | 5xx\n  never says x y\n  offers SIZE\n"
        + "Stored: a@b\n  from <>\n  | .x\n  |\n  octets 6\n  sha256 00\nStored*2: c@d\nSilence\nHang up\nConnect\n"
        + "TLS: without certificate\nTLS: certificate a.b\nTLS: foreign certificate a.b\n",
    )
    assert (story.name, story.title) == ("told", "What it shows.")
    assert story.clauses == ("RFC 2033 4.2", "RFC 5321 4.1")
    assert (story.settings, story.given) == (("max_size = 9",), ("lists create a@b",))
    assert (story.fault, story.paces) == ("storage", ("whole",))
    assert story.sockets == ("tcp",)
    assert story.steps == (
        Send(9, b"NOOP\r\n"),
        Send(10, b"a1\ra2\r"),
        Expect(11, ("250 2.0.0", "5xx"), 3, (Says("x y", False, False), Says("SIZE", True, True))),
        Store(14, (Stored("a@b", "", b".x\r\n\r\n", "00", 6), Stored("c@d"), Stored("c@d"))),
        Act(21, "silence"),
        Act(22, "hang up"),
        Act(23, "connect"),
        Secure(24, ""),
        Secure(25, "a.b"),
        Secure(26, "a.b", True),
    )


@pytest.mark.parametrize(
    "text",
    [
        "Clause: RFC 2033\nS: 250\n",
        "# title\nS: 250\n",
        HEAD,
        HEAD + "S: 250\nX: boo\n",
        HEAD + "S: hello\n",
        HEAD + "S: 250\nSleep\n",
        HEAD + "S: 250\nC: \\q\n",
        HEAD + "C: a\n  says x\nS: 250\n",
        HEAD + "S: 250\n  sings x\n",
        HEAD + "S: 250\nStored: nothing\n  from a@b\n",
        HEAD + "S: 250\nStored: a@b\n  about 5\n",
        HEAD + "Pace: slowly\nS: 250\n",
        HEAD + "Socket: avian\nS: 250\n",
        HEAD + "S: 250\nTLS: please\n",
        HEAD + "Fault: cosmic rays\nS: 250\n",
        HEAD + "S: 250\n: x\n",
    ],
)
def test_a_slip_of_the_pen_is_an_error(tmp_path: Path, text: str) -> None:
    """It names the file."""
    with pytest.raises(TranscriptError, match=r"^told\.txt"):
        read(tmp_path, text)


def test_escapes_are_single_octets_and_the_rest_is_utf_8() -> None:
    """As docs/conformance.md says."""
    assert unescape("é\\r\\n\\t\\0\\\\\\x7F") == b"\xc3\xa9\r\n\t\x00\\\x7f"


def test_the_folder_has_stories_whose_titles_differ() -> None:
    """Each title is the one line by which a story is found."""
    found = stories()
    assert len(found) > 50
    assert len({story.title for story in found}) == len(found)
