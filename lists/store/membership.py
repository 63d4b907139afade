"""Changes of one membership: joining, leaving, delivery, preferences; each with its line of history.

Whole files of addresses are members.py's matter. The version numbers rise only for those who look: RCPT looks at who is in and at
moderation, the way out at delivery, mode and what somebody wants of their own posts.
"""

from datetime import datetime

from msgspec.structs import asdict
from sqlalchemy import update

from lists.bounces.scoring import Effect, Event, Rules, next_step
from lists.changes import JoinMember, LeaveMember, SetDelivery, SetPreference
from lists.errors import NoSuchMember
from lists.model import Member, Role
from lists.store.bounces import forget_bounces, read_record
from lists.store.history import Pen, show, store_time
from lists.store.lists import find_row
from lists.store.members import add_members, find_member, remove_members
from lists.store.schema import membership
from lists.store.versions import note_change, note_delivery_change

_OF_RCPT = frozenset({"moderation_action"})
_OF_THE_WAY_OUT = frozenset({"delivery_mode", "receive_own_postings", "acknowledge_posts"})


def join(pen: Pen, change: JoinMember) -> None:
    """Add a membership; nothing happens to one that is there."""
    row, list_id, _ = find_row(pen.connection, change.list_id)
    add_members(pen, row, list_id, [change], change.role)


def leave(pen: Pen, change: LeaveMember) -> None:
    """End a membership; nothing happens to one that is not there."""
    row, list_id, _ = find_row(pen.connection, change.list_id)
    remove_members(pen, row, list_id, [change.address], change.role)


def set_delivery(pen: Pen, change: SetDelivery) -> None:
    """Say whether posts go to a member; raises NoSuchMember."""
    row, member = find(pen, change.list_id, change.address, change.role)
    if change.status != "by_bounces" and change.role == "member":
        event = Event.ENABLED if change.status == "enabled" else Event.LEFT
        if Effect.RESET in next_step(read_record(pen.connection, member.id).state, event, Rules()).effects:
            forget_bounces(pen, change.list_id, member)
    if (member.delivery_status, member.status_until) == (change.status, change.until):
        return
    values = {
        "delivery_status": change.status,
        "status_by": pen.origin.who or pen.origin.kind,
        "status_why": pen.origin.why,
        "status_at": pen.now_ms,
        "status_until": None if change.until is None else store_time(change.until),
    }
    pen.connection.execute(update(membership).where(membership.c.id == member.id).values(values))
    before = _until(member.delivery_status, member.status_until)
    pen.note(change.list_id, member.address, "delivery_status", before, _until(change.status, change.until))
    note_delivery_change(pen.connection, row)


def _until(status: str, until: datetime | None) -> str:
    return f"{status} until {show(until)}" if until else status


def set_preference(pen: Pen, change: SetPreference) -> None:
    """Change what a membership says; raises NoSuchMember."""
    row, member = find(pen, change.list_id, change.address, change.role)
    values = {
        name: value
        for name, value in asdict(change).items()
        if name not in ("list_id", "address", "role") and value is not None and value != getattr(member, name)
    }
    if not values:
        return
    pen.connection.execute(update(membership).where(membership.c.id == member.id).values(values))
    for name, value in values.items():
        pen.note(change.list_id, member.address, name, getattr(member, name), value)
    if _OF_RCPT & values.keys():
        note_change(pen.connection, [row], rewritten=True)
    if _OF_THE_WAY_OUT & values.keys():
        note_delivery_change(pen.connection, row)


def find(pen: Pen, list_id: str, address: str, role: Role) -> tuple[int, Member]:
    """Return the list's row and the membership; raises NoSuchList, NoSuchMember."""
    row, found_id, _ = find_row(pen.connection, list_id)
    member = find_member(pen.connection, row, address, role)
    if member is None:
        raise NoSuchMember(found_id, address)
    return row, member
