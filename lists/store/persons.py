"""Persons in the store: addresses that are one human's, so that a membership of one lets all of them post.

A person is of the whole site, not of a list: whoever links two addresses says so for every list that either is in. A row of `person` is
there only while it has two addresses or more; nothing else names it.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select, update

from config.names import ListId
from lists.mailbox import address_key
from lists.store.history import Pen
from lists.store.members import add_addresses
from lists.store.schema import address, mailing_list, membership, person
from lists.store.versions import note_change

Lists = dict[int, ListId]  # row and list-id


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
    _note(pen, _lists_of(pen.connection, _keys_of(pen.connection, whole)), one, new=other)
    return True


def unlink_addresses(pen: Pen, one: str, other: str) -> bool:
    """Say that `other` is not the person's who has `one`; the rest stay together. False: it was not."""
    key, other_key = address_key(one), address_key(other)
    number = _person_of(pen.connection, key)
    if number is None or key == other_key or _person_of(pen.connection, other_key) != number:
        return False
    keys = _keys_of(pen.connection, number)
    moved = _lists_of(pen.connection, keys)
    apart = keys if len(keys) <= 2 else [other_key]
    pen.connection.execute(update(address).where(address.c.address_key.in_(apart)).values(person_id=None))
    if apart is keys:
        pen.connection.execute(delete(person).where(person.c.id == number))
    _note(pen, moved, one, old=other)
    return True


def addresses_of_person(connection: Connection, written: str) -> tuple[str, ...]:
    """Return all addresses of the person who has this one, sorted; of one without a person only itself."""
    first = select(address.c.person_id).where(address.c.address_key == address_key(written)).scalar_subquery()
    found = connection.execute(select(address.c.address).where(address.c.person_id == first)).scalars().all()
    return tuple(sorted(found)) or (written,)


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


def _note(pen: Pen, lists: Lists, written: str, *, old: str = "", new: str = "") -> None:
    """Tell the history of each list, and whoever keeps a copy of who may post there."""
    for list_id in sorted(lists.values()):
        pen.note(list_id, written, "also", old, new)
    if lists:
        note_change(pen.connection, list(lists), rewritten=True)
