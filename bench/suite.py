"""What is asked of a whole list server, so that Postroom and GNU Mailman are put through the same: see whole.py for what is measured.

Both have the same three lists: TEN and THOUSAND with members, each at a domain of their own (many failures at one domain are an incident to
Postroom, which then stops scoring), and JOINED, which people join by answering a mail. What was scored and who has joined is counted in both
by one SELECT on the SQLite file.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from bench.load import Address

TEN = "ten@example.org"
THOUSAND = "thousand@example.org"
JOINED = "joined@example.org"
MEMBERS = {TEN: 10, THOUSAND: 1000, JOINED: 0}
BUSY_S = 5.0  # for a lock that a writer holds


class Suite(Protocol):
    """A list server with all of its processes."""

    name: str
    address: Address

    def begin(self) -> float:
        """Start it, made anew or as the last round has left it; return the seconds from the command to the banner. Raises TargetFailed."""

    def stop(self) -> None:
        """End it; safe to call twice and before `begin`."""

    def wait_until_ready(self) -> None:
        """Wait until every process does its work. Raises TargetFailed."""

    def settle(self) -> None:
        """Wait until its queues are empty. Raises TargetFailed, also when something was set aside."""

    def everybody(self) -> Sequence[int]:
        """Return all of its processes."""

    def bounce_recipients(self, count: int) -> list[tuple[str, str]]:
        """Return whom bounces of posts to THOUSAND go to, and whose they are: (VERP recipient, member), of members not returned before."""

    def scored(self) -> int:
        """Return how many members of THOUSAND have a bounce score."""

    def joined(self) -> int:
        """Return how many members JOINED has."""


def member_address(number: int) -> str:
    """Return the address of a member of TEN or THOUSAND."""
    return f"member-{number}@domain-{number}.example.net"


def read_number(file: Path, select: str) -> int:
    """Return what a SELECT of one number finds; the read is over when this returns."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=BUSY_S)) as connection:
        number: int = connection.execute(select).fetchone()[0]
    return number
