"""What the snapshot reads: which lists there are, in which state, and who may post to them.

Memberships are read in order of row, so a list that people only joined is read on from where the last reading stopped.
"""

import sys
from collections.abc import Mapping

from msgspec import Struct
from sqlalchemy import Connection, Engine, Select, select

from config.names import ListId
from lists.store.engine import reading
from lists.store.schema import address, mailing_list, membership

PAGE = 10_000  # memberships of one read: about 10 ms, in which nobody can commit
ROLES_OF_RCPT = frozenset({"member", "nonmember"})  # the other roles do not decide who may post
MANY = 50  # lists; for more of them one walk through everything is cheaper than one for each


class Mark(Struct, frozen=True):
    """In which state a list is: its row and the version numbers it carries (versions.py)."""

    row: int
    address: str
    version: int
    rewritten: int
    deliveries: int


class Rolls:
    """Who may post to one list: keys of every address of every person; filled by `read_rolls`, then only read."""

    __slots__ = ("last", "member_actions", "members", "nonmember_actions")

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.member_actions: dict[str, str] = {}
        self.nonmember_actions: dict[str, str] = {}
        self.last = 0  # the highest membership row that is in here

    def copy(self) -> "Rolls":
        """Return one to read on with, while others look at this one."""
        other = Rolls()
        other.members = set(self.members)
        other.member_actions = dict(self.member_actions)
        other.nonmember_actions = dict(self.nonmember_actions)
        other.last = self.last
        return other

    def enter(self, key: str, role: str, action: str) -> None:
        """Note one address; what a membership of its own says wins over what it has by its person."""
        key = sys.intern(key)  # somebody in a hundred lists is one string
        if role == "member":
            self.members.add(key)
            if action:
                self.member_actions[key] = action
        elif action:
            self.nonmember_actions[key] = action

    def enter_other(self, key: str, role: str, action: str) -> None:
        """Note another address of a person that is on the list."""
        known = self.members if role == "member" else self.nonmember_actions
        if key not in known:
            self.enter(key, role, action)


def read_marks(connection: Connection) -> dict[ListId, Mark]:
    """Return the state of every list."""
    columns = mailing_list.c
    rows = connection.execute(
        select(
            columns.list_id,
            columns.id,
            columns.address,
            columns.version,
            columns.rewritten,
            columns.deliveries,
        )
    ).all()
    return {ListId(list_id): Mark(*mark) for list_id, *mark in rows}


def read_rolls(engine: Engine, wanted: Mapping[int, Rolls]) -> None:
    """Bring the rolls of these lists (by row) up to date, page by page; each page is a read of its own."""
    if len(wanted) > MANY:
        _walk(engine, wanted, None, 0)
    else:
        for row, rolls in wanted.items():
            _walk(engine, {row: rolls}, row, rolls.last)
    with reading(engine) as connection:
        others = connection.execute(_other_addresses(list(wanted) if len(wanted) <= MANY else None)).all()
    for row, key, role, action in others:
        if row in wanted:
            wanted[row].enter_other(key, role, action)


def _walk(engine: Engine, wanted: Mapping[int, Rolls], row: int | None, last: int) -> None:
    """Go through the memberships of one list, or of all, from after row `last` on."""
    columns = membership.c
    query = (
        select(columns.list_row, columns.id, columns.address_key, columns.role, columns.moderation_action)
        .order_by(columns.id)
        .limit(PAGE)
    )
    if row is not None:
        query = query.where(columns.list_row == row)
    while True:
        with reading(engine) as connection:
            page = connection.execute(query.where(columns.id > last)).all()
        for list_row, number, key, role, action in page:
            if role in ROLES_OF_RCPT and list_row in wanted:
                rolls = wanted[list_row]
                rolls.enter(key, role, action)
                rolls.last = number
        if len(page) < PAGE:
            return
        last = page[-1][1]


def _other_addresses(rows: list[int] | None) -> Select[int, str, str, str]:
    """Find every other address of the persons on these lists: they may post from any of them."""
    second = address.alias()
    query = (
        select(membership.c.list_row, second.c.address_key, membership.c.role, membership.c.moderation_action)
        .join(address, address.c.address_key == membership.c.address_key)
        .join(second, second.c.person_id == address.c.person_id)
        .where(
            address.c.person_id.is_not(None),
            membership.c.role.in_(ROLES_OF_RCPT),
            second.c.address_key != membership.c.address_key,
        )
    )
    return query if rows is None else query.where(membership.c.list_row.in_(rows))
