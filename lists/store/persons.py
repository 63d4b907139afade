"""Persons in the store: addresses that are one human's, so that what is said of one, a membership, an exception or a ban, holds for all.

A person is of the whole site, not of a list: whoever links two addresses says so for every list that either is in. A row of `person` is
there only while it has two addresses or more; nothing else names it.
"""

import json
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from config.names import ListId
from lists.mailbox import address_key
from lists.store.history import Pen
from lists.store.members import add_addresses
from lists.store.schema import address, ban, mailing_list, membership, person, setting
from lists.store.versions import note_change

Lists = dict[int, ListId]  # row and list-id
MANY: Final = 5000  # keys in one question; SQLite takes 32,766

_OF_PERSON = select(address.c.address).where(
    address.c.person_id
    == select(address.c.person_id).where(address.c.address_key == bindparam("key")).scalar_subquery()
)


def link_addresses(pen: Pen, one: str, other: str) -> bool:
    """Say that two addresses are one person's, and with them all that either was linked with before; False: they were, or are the same."""
    keys = {address_key(one): one, address_key(other): other}
    add_addresses(pen.connection, keys, pen.now_ms)
    persons = {_person_of(pen.connection, key) for key in keys}
    if len(keys) < 2 or (len(persons) == 1 and None not in persons):
        return False
    known = sorted(number for number in persons if number is not None)
    whole = known[0] if known else _make_person(pen)
    chosen = address.c.address_key.in_(list(keys)) | address.c.person_id.in_(known)
    pen.connection.execute(update(address).where(chosen).values(person_id=whole))
    pen.connection.execute(delete(person).where(person.c.id.in_(known[1:])))
    _note(pen, _keys_of(pen.connection, whole), one, new=other)
    return True


def unlink_addresses(pen: Pen, one: str, other: str) -> bool:
    """Say that `other` is not the person's who has `one`; the rest stay together. False: it was not."""
    key, other_key = address_key(one), address_key(other)
    number = _person_of(pen.connection, key)
    if number is None or key == other_key or _person_of(pen.connection, other_key) != number:
        return False
    keys = _keys_of(pen.connection, number)
    apart = keys if len(keys) <= 2 else [other_key]
    pen.connection.execute(update(address).where(address.c.address_key.in_(apart)).values(person_id=None))
    if apart is keys:
        pen.connection.execute(delete(person).where(person.c.id == number))
    _note(pen, keys, one, old=other)
    return True


def addresses_of_person(connection: Connection, written: str) -> tuple[str, ...]:
    """Return all addresses of the person who has this one, sorted; of one without a person only itself."""
    found = connection.execute(_OF_PERSON, {"key": address_key(written)}).scalars().all()
    return tuple(sorted(found)) or (written,)


def other_keys(connection: Connection, keys: Iterable[str]) -> dict[str, list[str]]:
    """Return the other addresses of the persons who have these, by key; nothing is asked for where nobody has two addresses."""
    found: dict[str, list[str]] = {}
    if connection.execute(select(person.c.id).limit(1)).first() is None:
        return found
    second = address.alias()
    query = select(address.c.address_key, second.c.address_key).join(
        second, second.c.person_id == address.c.person_id
    )
    query = query.where(second.c.address_key != address.c.address_key)
    wanted = sorted(keys)
    for start in range(0, len(wanted), MANY):
        some = address.c.address_key.in_(wanted[start : start + MANY])
        for key, other in connection.execute(query.where(some)).all():
            found.setdefault(key, []).append(other)
    return found


def _person_of(connection: Connection, key: str) -> int | None:
    found = connection.execute(select(address.c.person_id).where(address.c.address_key == key)).scalar()
    return None if found is None else int(found)


def _make_person(pen: Pen) -> int:
    made = pen.connection.execute(
        insert(person).values(display_name="", created_at=pen.now_ms)
    ).inserted_primary_key
    assert made is not None
    return int(made[0])


def _keys_of(connection: Connection, number: int) -> list[str]:
    return list(
        connection.execute(select(address.c.address_key).where(address.c.person_id == number)).scalars()
    )


def _lists_of(connection: Connection, keys: Iterable[str]) -> Lists:
    """Return the lists that any of these addresses is in, in any role."""
    query = (
        select(mailing_list.c.id, mailing_list.c.list_id)
        .join(membership, membership.c.list_row == mailing_list.c.id)
        .where(membership.c.address_key.in_(list(keys)))
        .distinct()
    )
    return {int(row): ListId(list_id) for row, list_id in connection.execute(query).all()}


def _lists_naming(connection: Connection, keys: Iterable[str]) -> set[int]:
    """Return the rows of the lists whose bans or exceptions name one of these addresses."""
    wanted = set(keys)
    banned = connection.execute(
        select(mailing_list.c.id, ban.c.pattern).join(ban, ban.c.list_id == mailing_list.c.list_id)
    ).all()
    found = {int(row) for row, pattern in banned if address_key(pattern) in wanted}
    excepted = select(setting.c.list_row, setting.c.value).where(setting.c.name == "accept_these_nonmembers")
    for row, value in connection.execute(excepted).all():
        if not wanted.isdisjoint(map(address_key, json.loads(value))):
            found.add(int(row))
    return found


def _note(pen: Pen, keys: Iterable[str], written: str, *, old: str = "", new: str = "") -> None:
    """Tell the history of each list that the person is in, and whoever keeps a copy of who may post; `keys`: everybody concerned."""
    lists = _lists_of(pen.connection, keys)
    for list_id in sorted(lists.values()):
        pen.note(list_id, written, "also", old, new)
    note_change(pen.connection, lists.keys() | _lists_naming(pen.connection, keys), rewritten=True)
