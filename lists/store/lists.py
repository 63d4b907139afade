"""Lists and their settings in the store."""

import difflib
from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, or_, select

from config.names import ListId
from lists.address import list_id_of
from lists.errors import ListExists, NoSuchList
from lists.mailbox import address_key
from lists.model import ListSettings, MailingList
from lists.options import change_settings, from_rows, option_names, show_value, to_rows
from lists.store.history import Pen
from lists.store.schema import ban, bounce_record, freeze, mailing_list, membership, request, setting
from lists.store.versions import note_change

# The execution option in which every connection has [site] domain_aliases.
ALIASES: Final = "domain_aliases"

_ROWS = select(mailing_list.c.id, mailing_list.c.list_id, mailing_list.c.address)
_AT = _ROWS.where(mailing_list.c.address == bindparam("key"))
_NAMED = _ROWS.where(
    or_(mailing_list.c.list_id == bindparam("key"), mailing_list.c.address == bindparam("key"))
)
_SETTINGS = select(setting.c.list_row, setting.c.name, setting.c.value)
_SETTINGS_OF = _SETTINGS.where(setting.c.list_row.in_(bindparam("rows", expanding=True)))


def create_list(pen: Pen, address: str, settings: ListSettings) -> MailingList:
    """Make a list at a checked address."""
    connection = pen.connection
    list_id = list_id_of(address)
    known = or_(mailing_list.c.address == address, mailing_list.c.list_id == list_id)
    if connection.execute(select(mailing_list.c.id).where(known)).first():
        raise ListExists(address)
    number = note_change(connection)
    result = connection.execute(
        insert(mailing_list).values(
            list_id=list_id,
            address=address,
            created_at=pen.now_ms,
            version=number,
            rewritten=number,
            deliveries=0,
        )
    )
    row = result.inserted_primary_key
    assert row is not None
    _write_settings(connection, int(row[0]), settings)
    pen.note(list_id, "", "list", "", "created")
    return MailingList.at(address, settings, list_id)


def remove_list(pen: Pen, row: int, list_id: ListId) -> None:
    """Take a list away with its members, settings, bans, requests and freezes; held posts stay, for they are mail, and so does the history."""
    connection = pen.connection
    its_members = select(membership.c.id).where(membership.c.list_row == row).scalar_subquery()
    connection.execute(delete(bounce_record).where(bounce_record.c.membership_id.in_(its_members)))
    for table in (membership, setting):
        connection.execute(delete(table).where(table.c.list_row == row))
    for other in (ban, request, freeze):
        connection.execute(delete(other).where(other.c.list_id == list_id))
    connection.execute(delete(mailing_list).where(mailing_list.c.id == row))
    pen.note(list_id, "", "list", "created", "removed")
    note_change(connection)


def set_options(pen: Pen, row: int, list_id: ListId, assignments: Iterable[str]) -> ListSettings:
    """Apply KEY=VALUE texts; raises BadOption and changes nothing."""
    before = read_settings(pen.connection, [row])[row]
    after = change_settings(before, assignments)
    for name in option_names():
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            pen.note(list_id, "", f"setting.{name}", show_value(old), show_value(new))
    if after != before:
        _write_settings(pen.connection, row, after)
        note_change(pen.connection, [row])
    return after


def _write_settings(connection: Connection, row: int, settings: ListSettings) -> None:
    connection.execute(delete(setting).where(setting.c.list_row == row))
    rows = [{"list_row": row, "name": name, "value": value} for name, value in to_rows(settings).items()]
    if rows:
        connection.execute(insert(setting), rows)


def read_settings(connection: Connection, rows: Iterable[int] | None = None) -> dict[int, ListSettings]:
    """Return the settings of lists by row; None: of every list that has any but the defaults."""
    found: dict[int, dict[str, str]] = {}
    if rows is None:
        result = connection.execute(_SETTINGS)
    else:
        found = {row: {} for row in rows}
        result = connection.execute(_SETTINGS_OF, {"rows": list(found)})
    for row, name, value in result.all():
        found.setdefault(row, {})[name] = value
    return {row: from_rows(values) for row, values in found.items()}


def find_row(connection: Connection, text: str) -> tuple[int, ListId, str]:
    """Return row, list-id and address of the list that `text` names by address or list-id; raises NoSuchList.

    An address in another name of a domain counts too, unless a list has it itself; Store tells every connection the names.
    """
    key = address_key(text.strip().strip("<>"))
    found = connection.execute(_NAMED, {"key": key}).first()
    name, at, domain = key.rpartition("@")
    behind = connection.get_execution_options().get(ALIASES, {}).get(domain) if at else None
    if found is None and behind is not None:
        found = connection.execute(_AT, {"key": f"{name}@{behind}"}).first()
    if found is None:
        raise NoSuchList(text, _nearest(connection, key))
    return int(found[0]), ListId(found[1]), str(found[2])


def _nearest(connection: Connection, key: str) -> str:
    names = [
        name
        for row in connection.execute(select(mailing_list.c.address, mailing_list.c.list_id))
        for name in row
    ]
    return next(iter(difflib.get_close_matches(key, names, n=1, cutoff=0.7)), "")


def find_list(connection: Connection, text: str) -> MailingList:
    """Return one list; raises NoSuchList."""
    row, list_id, address = find_row(connection, text)
    return MailingList.at(address, read_settings(connection, [row])[row], list_id)


def all_lists(connection: Connection) -> tuple[MailingList, ...]:
    """Return every list, by address."""
    settings = read_settings(connection)
    rows = connection.execute(
        select(mailing_list.c.id, mailing_list.c.address, mailing_list.c.list_id).order_by(
            mailing_list.c.address
        )
    ).all()
    return tuple(
        MailingList.at(address, settings.get(row), ListId(list_id)) for row, address, list_id in rows
    )
