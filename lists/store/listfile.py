"""A whole list out of the store and into it, as the lines of lists/listfile.py.

Out: page by page, each a read of its own, so what changes meanwhile is there as it was or as it is. In: one transaction, for half a list would
refuse the other half's posts; 100,000 members keep other writers waiting for some seconds, and readers only for the commit.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import asdict, fields
from sqlalchemy import Engine, insert, select

from config.names import ListId
from lists.listfile import BanLine, Body, EvidenceLine, ListFile, MemberLine, PersonLine, SettingLine
from lists.mailbox import address_key
from lists.model import MailingList, Member
from lists.options import option_names, settings_from
from lists.records import BounceRecord
from lists.store import bans, bounces, lists, members, persons
from lists.store.engine import reading
from lists.store.history import Pen, read_time, store_time
from lists.store.members import list_members
from lists.store.schema import address, bounce_evidence, bounce_record, membership

BATCH = 1000  # rows of one statement or page
Tell = Callable[[int], None]  # how many members are in

_FIELDS = tuple(name for name in MemberLine.__struct_fields__ if name not in ("address", "bounces"))
_COLUMNS = tuple(name for name in _FIELDS if name not in ("role", "joined_at", "status_at", "status_until"))
_DEFAULTS = {field.name: field.default for field in fields(MemberLine)}


# Out ------------------------------------------------------------------------------------------------------------------


def export_body(engine: Engine, mailing_list: MailingList, row: int) -> Iterator[Body]:
    """Yield every line between the first and the last."""
    default = type(mailing_list.settings)()
    for name in option_names():
        value = getattr(mailing_list.settings, name)
        if value != getattr(default, name):
            yield SettingLine(name=name, value=value)
    with reading(engine) as connection:
        banned = bans.read_bans(connection, mailing_list.list_id)
    for ban in banned:
        yield BanLine(pattern=ban.pattern)
    yield from _export_members(engine, row)
    yield from _export_persons(engine, row)
    yield from _export_evidence(engine, mailing_list.list_id)


def _export_members(engine: Engine, row: int) -> Iterator[MemberLine]:
    after = ""
    while True:
        with reading(engine) as connection:
            page = list_members(connection, row, None, after, BATCH)
            stands = bounces.read_records(connection, [member.id for member in page])
        if not page:
            return
        for member in page:
            yield _line_of(member, stands.get(member.id))
        after = page[-1].cursor


def _line_of(member: Member, stand: BounceRecord | None) -> MemberLine:
    """Leave out what stands at its default: msgspec knows a default only by identity, and a text from a database is another one."""
    values = {name: value for name in _FIELDS if (value := getattr(member, name)) != _DEFAULTS[name]}
    return MemberLine(address=member.address, bounces=stand, **values)


def _export_persons(engine: Engine, row: int) -> Iterator[PersonLine]:
    last = 0
    while True:
        here = (
            select(address.c.person_id)
            .join(membership, membership.c.address_key == address.c.address_key)
            .where(membership.c.list_row == row, address.c.person_id > last)
            .distinct()
            .order_by(address.c.person_id)
            .limit(BATCH)
        )
        query = select(address.c.person_id, address.c.address).where(address.c.person_id.in_(here))
        with reading(engine) as connection:
            found = connection.execute(query.order_by(address.c.person_id, address.c.address_key)).all()
        if not found:
            return
        for _, rows in groupby(found, lambda each: each[0]):
            yield PersonLine(addresses=tuple(written for _, written in rows))
        last = found[-1][0]


def _export_evidence(engine: Engine, list_id: ListId) -> Iterator[EvidenceLine]:
    last = 0
    while True:
        query = select(bounce_evidence).where(
            bounce_evidence.c.list_id == list_id, bounce_evidence.c.id > last
        )
        with reading(engine) as connection:
            page = connection.execute(query.order_by(bounce_evidence.c.id).limit(BATCH)).mappings().all()
        if not page:
            return
        for row in page:
            found = bounces.evidence_of(row)
            yield EvidenceLine(address=row["address_key"], **(asdict(found) | {"at": read_time(row["at"])}))
        last = page[-1]["id"]


# In -------------------------------------------------------------------------------------------------------------------


def import_list(pen: Pen, file: ListFile, written: str, tell: Tell) -> MailingList:
    """Make the list that a file says, at a checked address; raises BadListFile, ListExists."""
    lines = file.body()
    settings, rest = _take_settings(lines)
    made = lists.create_list(pen, written, settings_from(settings))
    row = lists.find_row(pen.connection, made.list_id)[0]
    done = 0
    for kind, batch in _batches(rest):
        _WRITERS[kind](pen, row, made.list_id, batch)
        if kind is MemberLine:
            done += len(batch)
            tell(done)
    return made


def _take_settings(lines: Iterator[Body]) -> tuple[dict[str, Any], Iterator[Body]]:
    settings: dict[str, Any] = {}
    for line in lines:
        if not isinstance(line, SettingLine):
            return settings, _chain(line, lines)
        settings[line.name] = line.value
    return settings, iter(())


def _chain(first: Body, rest: Iterator[Body]) -> Iterator[Body]:
    yield first
    yield from rest


def _batches(lines: Iterable[Body]) -> Iterator[tuple[type, list[Any]]]:
    """Yield lines of one kind that follow each other, BATCH at most."""
    batch: list[Body] = []
    for line in lines:
        if batch and (type(line) is not type(batch[0]) or len(batch) == BATCH):
            yield type(batch[0]), batch
            batch = []
        batch.append(line)
    if batch:
        yield type(batch[0]), batch


def _write_bans(pen: Pen, row: int, list_id: ListId, batch: Sequence[BanLine]) -> None:
    for line in batch:
        bans.add_ban(pen, row, list_id, line.pattern)


def _write_members(pen: Pen, row: int, list_id: ListId, batch: Sequence[MemberLine]) -> None:
    members.add_addresses(
        pen.connection, {address_key(line.address): line.address for line in batch}, pen.now_ms
    )
    pen.connection.execute(insert(membership), [_membership_row(row, line) for line in batch])
    pen.note_all(list_id, [(line.address, "joined", "", line.role) for line in batch])
    bouncing = {
        address_key(line.address): line.bounces for line in batch if line.bounces and line.role == "member"
    }
    if bouncing:
        query = select(membership.c.address_key, membership.c.id).where(
            membership.c.list_row == row,
            membership.c.role == "member",
            membership.c.address_key.in_(list(bouncing)),
        )
        found = pen.connection.execute(query).all()
        rows = [bounces.record_row(number, bouncing[key]) for key, number in found]
        pen.connection.execute(insert(bounce_record), rows)


def _membership_row(row: int, line: MemberLine) -> dict[str, Any]:
    return {
        "list_row": row,
        "address_key": address_key(line.address),
        "role": line.role,
        "created_at": store_time(line.joined_at),
        "status_at": None if line.status_at is None else store_time(line.status_at),
        "status_until": None if line.status_until is None else store_time(line.status_until),
        **{name: getattr(line, name) for name in _COLUMNS},
    }


def _write_persons(pen: Pen, row: int, list_id: ListId, batch: Sequence[PersonLine]) -> None:
    for line in batch:
        for other in line.addresses[1:]:
            persons.link_addresses(pen, line.addresses[0], other)


def _write_evidence(pen: Pen, row: int, list_id: ListId, batch: Sequence[EvidenceLine]) -> None:
    rows = [
        {
            "at": store_time(line.at),
            "list_id": list_id,
            "address_key": address_key(line.address),
            "domain": address_key(line.address).rpartition("@")[2],
            "day": line.day.isoformat(),
            **{
                name: getattr(line, name)
                for name in ("bounce_class", "status", "diagnostic", "same_words", "item_id")
            },
        }
        for line in batch
    ]
    pen.connection.execute(insert(bounce_evidence), rows)


_WRITERS: dict[type, Callable[[Pen, int, ListId, Any], None]] = {
    BanLine: _write_bans,
    MemberLine: _write_members,
    PersonLine: _write_persons,
    EvidenceLine: _write_evidence,
}
