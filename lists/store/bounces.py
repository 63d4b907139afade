"""What members bounced: where each stands, the evidence, and what is frozen. How a score comes about is decided elsewhere."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Select, and_, bindparam, delete, func, insert, or_, select, update

from config.names import ListId
from lists.bounces.brake import Topic
from lists.bounces.failure import MAX_DIAGNOSTIC
from lists.bounces.scoring import Score, State
from lists.changes import AddBounce, FreezeScoring, LiftFreeze
from lists.mailbox import address_key
from lists.model import Member
from lists.records import BounceRecord, Evidence, Freeze
from lists.store.history import Pen, maybe_time, read_time, show, store_time
from lists.store.schema import bounce_evidence, bounce_record, freeze

_RECORDS = select(bounce_record).where(
    bounce_record.c.membership_id.in_(bindparam("memberships", expanding=True))
)
_FORGET_RECORD = delete(bounce_record).where(bounce_record.c.membership_id == bindparam("membership"))
_ADD_RECORD = insert(bounce_record)
_ADD_EVIDENCE = insert(bounce_evidence)
_NEWEST = (
    select(bounce_evidence)
    .where(
        bounce_evidence.c.list_id == bindparam("list"), bounce_evidence.c.address_key == bindparam("address")
    )
    .order_by(bounce_evidence.c.id.desc())
    .limit(bindparam("most"))
)
_FREEZES = (
    select(freeze)
    .where(or_(freeze.c.list_id == bindparam("list"), freeze.c.list_id == ""))
    .order_by(freeze.c.id)
)


def _counting(column: Column[str]) -> Select[int]:
    """Count the addresses that have bounced under what this column holds."""
    return select(func.count(bounce_evidence.c.address_key.distinct())).where(
        bounce_evidence.c.list_id == bindparam("list"),
        column == bindparam("topic"),
        bounce_evidence.c.at >= bindparam("since"),
    )


_BOUNCED_AT = _counting(bounce_evidence.c.domain)
_BOUNCED_SO = _counting(bounce_evidence.c.same_words)


def read_record(connection: Connection, membership_id: int) -> BounceRecord:
    """Return where a membership stands; the empty record for one that never bounced."""
    return read_records(connection, [membership_id]).get(membership_id, BounceRecord())


def read_records(connection: Connection, membership_ids: Sequence[int]) -> dict[int, BounceRecord]:
    """Return where memberships stand, those that never bounced left out."""
    found = connection.execute(_RECORDS, {"memberships": list(membership_ids)})
    return {row["membership_id"]: _record(row) for row in found.mappings().all()}


def _record(row: Any) -> BounceRecord:
    return BounceRecord(
        state=State(row["state"]),
        score=Score(row["score"], date.fromisoformat(row["day"]) if row["day"] else None, row["day_weight"]),
        counts=msgspec.json.decode(row["counts"], type=dict[str, int]),
        warnings_sent=row["warnings_sent"],
        probed_at=maybe_time(row["probed_at"]),
        due_at=maybe_time(row["due_at"]),
    )


def write_record(pen: Pen, list_id: str, member: Member, record: BounceRecord) -> None:
    """Keep where a member stands now; score, state and warnings are told in the history, what is only planned is not."""
    before = read_record(pen.connection, member.id)
    if record == before:
        return
    pen.connection.execute(_FORGET_RECORD, {"membership": member.id})
    if record != BounceRecord():
        pen.connection.execute(_ADD_RECORD, record_row(member.id, record))
    told = zip(_told(before), _told(record), strict=True)
    pen.note_all(list_id, [(member.address, what, old, new) for (what, old), (_, new) in told if old != new])


def _told(record: BounceRecord) -> tuple[tuple[str, str], ...]:
    """Return what of a record the history tells."""
    return (
        ("bounce_score", show(record.score.value)),
        ("bounce_state", record.state.value),
        ("bounce_warnings_sent", show(record.warnings_sent)),
    )


def record_row(membership_id: int, record: BounceRecord) -> dict[str, Any]:
    """Return what is stored of a record."""
    return {
        "membership_id": membership_id,
        "state": record.state.value,
        "score": record.score.value,
        "day": record.score.day.isoformat() if record.score.day else "",
        "day_weight": record.score.day_weight,
        "counts": msgspec.json.encode(record.counts).decode(),
        "warnings_sent": record.warnings_sent,
        "probed_at": None if record.probed_at is None else store_time(record.probed_at),
        "due_at": None if record.due_at is None else store_time(record.due_at),
    }


def forget_bounces(pen: Pen, list_id: str, member: Member) -> None:
    """Put a member back to the start."""
    write_record(pen, list_id, member, BounceRecord())


# Evidence -------------------------------------------------------------------------------------------------------------


def add_evidence(pen: Pen, change: AddBounce) -> None:
    """Keep one bounce."""
    key = address_key(change.address)
    found = change.evidence
    row = {
        "at": pen.now_ms,
        "list_id": change.list_id,
        "address_key": key,
        "domain": key.rpartition("@")[2],
        "same_words": found.same_words,
        "day": found.day.isoformat(),
        "bounce_class": found.bounce_class,
        "status": found.status,
        "diagnostic": found.diagnostic[:MAX_DIAGNOSTIC],
        "item_id": found.item_id or pen.origin.item_id,
    }
    pen.connection.execute(_ADD_EVIDENCE, row)
    pen.note(change.list_id, change.address, "bounced", "", f"{found.bounce_class} {found.status}".strip())


def read_evidence(connection: Connection, list_id: str, address: str, limit: int) -> tuple[Evidence, ...]:
    """Return the newest bounces of an address, newest first."""
    chosen = {"list": list_id, "address": address_key(address), "most": limit}
    return tuple(map(evidence_of, connection.execute(_NEWEST, chosen).mappings().all()))


def evidence_of(row: Any) -> Evidence:
    """Read one row of bounce_evidence."""
    return Evidence(
        day=date.fromisoformat(row["day"]),
        bounce_class=row["bounce_class"],
        status=row["status"],
        diagnostic=row["diagnostic"],
        same_words=row["same_words"],
        item_id=row["item_id"],
        at=read_time(row["at"]),
    )


def count_bounced(connection: Connection, list_id: str, since: datetime, topic: Topic) -> int:
    """Return how many different addresses of a list have bounced under a topic since."""
    query = _BOUNCED_SO if topic.is_text else _BOUNCED_AT
    chosen = {"list": list_id, "topic": topic.name.partition(":")[2], "since": store_time(since)}
    return int(connection.execute(query, chosen).scalar_one())


def expired_on(connection: Connection, list_id: str, day: date) -> tuple[str, ...]:
    """Return who did not get a mail because its time was over (4.4.7), by the evidence of a day; reads that day's rows of all lists."""
    began = store_time(datetime(day.year, day.month, day.day, tzinfo=UTC))
    columns = bounce_evidence.c
    query = select(columns.address_key.distinct()).where(
        columns.at >= began,
        columns.list_id == list_id,
        columns.day == day.isoformat(),
        columns.status == "4.4.7",
    )
    return tuple(sorted(connection.execute(query).scalars()))


def trim_evidence(connection: Connection, before: datetime, limit: int) -> int:
    """Forget some of the bounces from before; returns how many."""
    old = (
        select(bounce_evidence.c.id)
        .where(bounce_evidence.c.at < store_time(before))
        .order_by(bounce_evidence.c.at)
        .limit(limit)
    )
    result = connection.execute(
        delete(bounce_evidence).where(bounce_evidence.c.id.in_(old.scalar_subquery()))
    )
    return int(result.rowcount)


# Freezes --------------------------------------------------------------------------------------------------------------


def freeze_scoring(pen: Pen, change: FreezeScoring) -> None:
    """Freeze, or freeze longer."""
    chosen = and_(freeze.c.list_id == change.list_id, freeze.c.topic == change.topic)
    known = pen.connection.execute(select(freeze.c.id, freeze.c.until).where(chosen)).first()
    values: dict[str, Any] = {"until": store_time(change.until)}
    if change.told:
        values["told_at"] = pen.now_ms
    if known is None:
        fixed = {"list_id": change.list_id, "topic": change.topic, "since": pen.now_ms}
        pen.connection.execute(insert(freeze).values(values | fixed))
    else:
        pen.connection.execute(update(freeze).where(freeze.c.id == known.id).values(values))
    before = "" if known is None else show(read_time(known.until))
    pen.note(change.list_id, "", f"freeze {change.topic}", before, change.until)


def lift_freeze(pen: Pen, change: LiftFreeze) -> None:
    """Let it score again."""
    gone = pen.connection.execute(
        delete(freeze)
        .where(freeze.c.id == change.id)
        .returning(freeze.c.list_id, freeze.c.topic, freeze.c.until)
    ).first()
    if gone is not None:
        pen.note(gone.list_id, "", f"freeze {gone.topic}", read_time(gone.until), "lifted")


def read_freezes(connection: Connection, list_id: str) -> tuple[Freeze, ...]:
    """Return the freezes of a list and of the whole site."""
    return tuple(
        Freeze(
            id=row["id"],
            list_id=ListId(row["list_id"]),
            topic=row["topic"],
            since=read_time(row["since"]),
            until=read_time(row["until"]),
            told_at=maybe_time(row["told_at"]),
        )
        for row in connection.execute(_FREEZES, {"list": list_id}).mappings().all()
    )
