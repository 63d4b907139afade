"""The stories of tests/conformance can fail: stock aiosmtpd does, where its traps are, and so did Mailman when the table was recorded.

The traps are those of tests/unit/lmtp/test_aiosmtpd_traps.py, by number (8, a time-out, is no story). Mailman is not installed here: `make exam ARGS=--record`
does that and writes the table of docs/conformance.md, which is held against what is known of Mailman's defects.
"""

import re

import pytest

from tests.support.exam import COLUMNS, PAGE, ask_stock, read_table
from tests.support.transcript import stories

STORIES = {story.name: story for story in stories()}
ROWS = {row.story: row.cells for row in read_table(PAGE.read_text("utf-8"))}

STOCK_FAILS = [
    (
        1,
        "rcpt-twice",
        "221 Bye",
    ),  # one final reply, then the one to QUIT: Postfix takes it for the last recipient's
    (7, "half-close", "closed"),
    (1, "pipelining", "221 Bye"),
    (1, "data-too-big", "nothing within"),
    (2, "storage-fails", "500 Error: (OSError)"),
    (4, "lhlo-offers", "offers lists.example.org"),
    (5, "enhanced-codes", "500 Error"),
    (6, "lhlo-only", "send HELO first"),
    (7, "hang-up", "stored nothing"),
    (9, "null-sender", "550 5.7.1 Only members"),
    (10, "data-long-lines", "500 Line too long"),
    (11, "command-too-long", "500 Command line too long"),
    (12, "command-newlines", "250 OK"),
    (12, "command-controls", "no reply line"),
    (12, "rcpt-syntax", "250 2.1.5 OK"),
    (12, "no-such-command", "250 Supported commands: AUTH"),
]
STOCK_PASSES = [
    "callout",
    "data-empty",
    "data-octets",
    "lhlo-again",
    "mail-order",
    "rcpt-source-route",
    "rset",
]
MAILMAN_FAILS = [
    ("data-broken-mime", "501 Message has defects"),  # one for three recipients
    ("storage-fails", "550 Requested action not taken"),  # a folder that is away bounces mail
    ("data-long-lines", "500 Line too long"),
    ("rcpt-purposes", "550 Requested action not taken"),  # -admin
    ("rcpt-postmaster", "550 Requested action not taken"),
    ("enhanced-codes", "500 Error"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("trap", "name", "says"), STOCK_FAILS)
def test_stock_aiosmtpd_fails_where_its_traps_are(trap: int, name: str, says: str) -> None:
    """When a newer one passes, a trap is mended: then a reason in lmtp/server.py is gone."""
    played = ask_stock(STORIES[name])
    assert played is not None
    assert played.finding is not None, f"trap {trap} is mended"
    assert says in played.finding.got


@pytest.mark.slow
@pytest.mark.parametrize("name", STOCK_PASSES)
def test_stock_aiosmtpd_passes_where_it_is_sound(name: str) -> None:
    """The stories ask for what RFC 2033 and 5321 say, not for what only we say."""
    played = ask_stock(STORIES[name])
    assert played is not None
    assert played.finding is None


@pytest.mark.parametrize(("name", "says"), MAILMAN_FAILS)
def test_mailman_failed_where_its_defects_are(name: str, says: str) -> None:
    """As recorded."""
    assert says in ROWS[name][COLUMNS.index("mailman 3.3.10")]


def test_the_recorded_table_has_a_day_and_stories_that_exist() -> None:
    """And Postroom passed each of them."""
    assert re.search(r"^Recorded on 20\d\d-\d\d-\d\d\.$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert set(ROWS) <= set(STORIES)
    assert {cells[0] for cells in ROWS.values()} == {"pass"}
