"""What members bounced: where each stands, the evidence, and what is frozen. How a score comes about is decided elsewhere."""

from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, or_, select, update

from config.names import ListId
from lists.changes import AddBounce, FreezeScoring, LiftFreeze
from lists.mailbox import address_key, fold_domain
from lists.model import Member
from lists.records import BounceRecord, Evidence, Freeze
from lists.store.history import Pen, maybe_time, read_time, show, store_time
from lists.store.schema import bounce_evidence, bounce_record, freeze

MAX_DIAGNOSTIC = 500  # characters that are kept of what another server said; RFC 5321 4.5.3.1.5 gives a reply line 512 octets


def read_record(connection: Connection, membership_id: int) -> BounceRecord:
    """Return where a membership stands; the empty record for one that never bounced."""
    query = select(bounce_record).where(bounce_record.c.membership_id == membership_id)
    row = connection.execute(query).mappings().first()
    if row is None:
        return BounceRecord()
    return BounceRecord(
        score=row["score"],
        last_day=date.fromisoformat(row["last_day"]) if row["last_day"] else None,
        counts=msgspec.json.decode(row["counts"], type=dict[str, int]),
        warnings_sent=row["warnings_sent"],
        probed_at=maybe_time(row["probed_at"]),
        next_step=row["next_step"],
        due_at=maybe_time(row["due_at"]),
    )


def write_record(pen: Pen, list_id: str, member: Member, record: BounceRecord) -> None:
    """Keep where a member stands now; score, warnings and probes are told in the history, what is only planned is not."""
    before = read_record(pen.connection, member.id)
    if record == before:
        return
    pen.connection.execute(delete(bounce_record).where(bounce_record.c.membership_id == member.id))
    if record != BounceRecord():
        pen.connection.execute(insert(bounce_record).values(_values(member.id, record)))
    told = [
        (member.address, f"bounce_{name}", show(old), show(new))
        for name in ("score", "warnings_sent", "probed_at")
        if (old := getattr(before, name)) != (new := getattr(record, name))
    ]
    pen.note_all(list_id, told)


def _values(membership_id: int, record: BounceRecord) -> dict[str, Any]:
    return {
        "membership_id": membership_id,
        "score": record.score,
        "last_day": record.last_day.isoformat() if record.last_day else "",
        "counts": msgspec.json.encode(record.counts).decode(),
        "warnings_sent": record.warnings_sent,
        "probed_at": None if record.probed_at is None else store_time(record.probed_at),
        "next_step": record.next_step,
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
    pen.connection.execute(
        insert(bounce_evidence).values(
            at=pen.now_ms,
            list_id=change.list_id,
            address_key=key,
            domain=key.rpartition("@")[2],
            text_key=found.text_key,
            day=found.day.isoformat(),
            bounce_class=found.bounce_class,
            status=found.status,
            diagnostic=found.diagnostic[:MAX_DIAGNOSTIC],
            item_id=found.item_id or pen.origin.item_id,
        )
    )
    pen.note(change.list_id, change.address, "bounced", "", f"{found.bounce_class} {found.status}".strip())


def read_evidence(connection: Connection, list_id: str, address: str, limit: int) -> tuple[Evidence, ...]:
    """Return the newest bounces of an address, newest first."""
    query = (
        select(bounce_evidence)
        .where(bounce_evidence.c.list_id == list_id, bounce_evidence.c.address_key == address_key(address))
        .order_by(bounce_evidence.c.id.desc())
        .limit(limit)
    )
    return tuple(
        Evidence(
            day=date.fromisoformat(row["day"]),
            bounce_class=row["bounce_class"],
            status=row["status"],
            diagnostic=row["diagnostic"],
            text_key=row["text_key"],
            item_id=row["item_id"],
            at=read_time(row["at"]),
        )
        for row in connection.execute(query).mappings().all()
    )


def count_bounced(connection: Connection, list_id: str, since: datetime, domain: str, text_key: str) -> int:
    """Return how many addresses have bounced since, of a domain or with a text or all of them; list "" counts every list's."""
    columns = bounce_evidence.c
    query = select(func.count(columns.address_key.distinct())).where(columns.at >= store_time(since))
    for column, value in (
        (columns.list_id, list_id),
        (columns.domain, fold_domain(domain)),
        (columns.text_key, text_key),
    ):
        if value:
            query = query.where(column == value)
    return int(connection.execute(query).scalar_one())


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
    what = fold_domain(change.what) if change.kind == "domain" else change.what
    chosen = (freeze.c.list_id == change.list_id, freeze.c.kind == change.kind, freeze.c.what == what)
    known = pen.connection.execute(select(freeze.c.id, freeze.c.until).where(*chosen)).first()
    until = store_time(change.until)
    told = {"told_at": pen.now_ms} if change.told else {}
    if known is None:
        values = {
            "list_id": change.list_id,
            "kind": change.kind,
            "what": what,
            "since": pen.now_ms,
            "until": until,
        }
        pen.connection.execute(insert(freeze).values(values | told))
    else:
        pen.connection.execute(update(freeze).where(freeze.c.id == known.id).values({"until": until} | told))
    before = "" if known is None else show(read_time(known.until))
    pen.note(change.list_id, "", f"freeze.{change.kind} {what}", before, change.until)


def lift_freeze(pen: Pen, change: LiftFreeze) -> None:
    """Let it score again."""
    gone = pen.connection.execute(
        delete(freeze)
        .where(freeze.c.id == change.id)
        .returning(freeze.c.list_id, freeze.c.kind, freeze.c.what, freeze.c.until)
    ).first()
    if gone is not None:
        pen.note(gone.list_id, "", f"freeze.{gone.kind} {gone.what}", read_time(gone.until), "lifted")


def read_freezes(connection: Connection, list_id: str) -> tuple[Freeze, ...]:
    """Return the freezes of a list and of the whole site."""
    query = (
        select(freeze).where(or_(freeze.c.list_id == list_id, freeze.c.list_id == "")).order_by(freeze.c.id)
    )
    return tuple(
        Freeze(
            id=row["id"],
            list_id=ListId(row["list_id"]),
            kind=row["kind"],
            what=row["what"],
            since=read_time(row["since"]),
            until=read_time(row["until"]),
            told_at=maybe_time(row["told_at"]),
        )
        for row in connection.execute(query).mappings().all()
    )
