"""Addresses, persons and memberships in the store.

Long listings go in pages by key, each a read of its own; imports go in batches, each a short write of its own, so that neither stops
the mail (one open read stops every commit, one long write every other writer).
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    tuple_,
    update,
)

from lists.mailbox import address_key
from lists.model import Member, Role
from lists.store.rolls import ROLES_OF_RCPT
from lists.store.schema import address, membership, person
from lists.store.versions import note_change, note_delivery_change

PAGE = 10_000  # members read at once: about 10 ms

_COLUMNS = (
    address.c.address,
    membership.c.role,
    membership.c.address_key,
    membership.c.delivery,
    membership.c.moderation_action,
)


def add_members(connection: Connection, row: int, addresses: Sequence[str], role: Role, now_ms: int) -> int:
    """Add one batch of checked addresses; returns how many were new. The version rises once, if any was."""
    by_key: dict[str, str] = {}
    for each in addresses:
        by_key.setdefault(address_key(each), each)
    known = _known(
        connection,
        select(membership.c.address_key).where(
            membership.c.list_row == row,
            membership.c.role == role,
            membership.c.address_key.in_(list(by_key)),
        ),
    )
    missing = [key for key in by_key if key not in known]
    if not missing:
        return 0
    add_addresses(connection, {key: by_key[key] for key in missing}, now_ms)
    defaults = {
        "list_row": row,
        "role": role,
        "delivery": True,
        "moderation_action": "",
        "created_at": now_ms,
    }
    connection.execute(insert(membership), [{**defaults, "address_key": key} for key in missing])
    if role in ROLES_OF_RCPT:
        note_change(connection, [row])
    return len(missing)


def add_addresses(connection: Connection, by_key: dict[str, str], now_ms: int) -> None:
    """Write down the addresses that are not known yet; one that is keeps its first spelling."""
    known = _known(connection, select(address.c.address_key).where(address.c.address_key.in_(list(by_key))))
    rows = [
        {"address_key": key, "address": written, "created_at": now_ms}
        for key, written in by_key.items()
        if key not in known
    ]
    if rows:
        connection.execute(insert(address), rows)


def _known(connection: Connection, query: Select[str]) -> set[str]:
    return set(connection.execute(query).scalars())


def remove_members(connection: Connection, row: int, addresses: Sequence[str], role: Role | None) -> int:
    """Take one batch of addresses out of a list, out of every role without `role`; returns how many memberships went."""
    chosen = and_(
        membership.c.list_row == row, membership.c.address_key.in_([address_key(each) for each in addresses])
    )
    if role is not None:
        chosen = and_(chosen, membership.c.role == role)
    gone = connection.execute(delete(membership).where(chosen).returning(membership.c.role)).scalars().all()
    if ROLES_OF_RCPT.intersection(gone):
        note_change(connection, [row], rewritten=True)
    return len(gone)


def set_member(
    connection: Connection,
    row: int,
    member: Member,
    delivery: bool | None,
    moderation_action: str | None,
) -> None:
    """Change what one membership says; raises the number that those look at who need to know."""
    values: dict[str, object] = {}
    if delivery is not None and delivery != member.delivery:
        values["delivery"] = delivery
    if moderation_action is not None and moderation_action != member.moderation_action:
        values["moderation_action"] = moderation_action
    if not values:
        return
    connection.execute(update(membership).where(_is(row, member.key, member.role)).values(values))
    if "moderation_action" in values:
        note_change(connection, [row], rewritten=True)
    if "delivery" in values:
        note_delivery_change(connection, row)


def _is(row: int, key: str, role: str) -> ColumnElement[bool]:
    return and_(membership.c.list_row == row, membership.c.address_key == key, membership.c.role == role)


def link_addresses(connection: Connection, one: str, other: str, now_ms: int) -> None:
    """Say that two addresses are one person's; whoever either was linked with before belongs to that person too."""
    keys = {address_key(one): one, address_key(other): other}
    add_addresses(connection, keys, now_ms)
    known = (
        connection.execute(
            select(address.c.person_id).where(
                address.c.address_key.in_(list(keys)), address.c.person_id.is_not(None)
            )
        )
        .scalars()
        .all()
    )
    if known:
        whole = int(known[0])
    else:
        made = connection.execute(
            insert(person).values(display_name="", created_at=now_ms)
        ).inserted_primary_key
        assert made is not None
        whole = int(made[0])
    linked = or_(address.c.address_key.in_(list(keys)), address.c.person_id.in_(list(known)))
    connection.execute(update(address).where(linked).values(person_id=whole))
    rows = connection.execute(
        select(membership.c.list_row)
        .join(address, address.c.address_key == membership.c.address_key)
        .where(address.c.person_id == whole)
        .distinct()
    ).scalars()
    note_change(connection, list(rows), rewritten=True)


def list_members(
    connection: Connection, row: int, role: Role | None, after: str, limit: int
) -> tuple[Member, ...]:
    """Return one page of a list's members in order of key and role."""
    key, _, last_role = after.rpartition(" ") if " " in after else (after, "", "~")
    query = (
        select(*_COLUMNS)
        .join(address, address.c.address_key == membership.c.address_key)
        .where(membership.c.list_row == row)
        .order_by(membership.c.address_key, membership.c.role)
        .limit(limit)
    )
    if after:
        query = query.where(tuple_(membership.c.address_key, membership.c.role) > tuple_(key, last_role))
    if role is not None:
        query = query.where(membership.c.role == role)
    return tuple(Member(*found) for found in connection.execute(query).all())


def find_member(connection: Connection, row: int, written: str, role: Role = "member") -> Member | None:
    """Return one membership by address, any spelling of it."""
    query = select(*_COLUMNS).join(address, address.c.address_key == membership.c.address_key)
    found = connection.execute(query.where(_is(row, address_key(written), role))).first()
    return Member(*found) if found else None


def addresses_of(connection: Connection, row: int, roles: Iterable[Role]) -> tuple[str, ...]:
    """Return the addresses that have one of these few-membered roles, each once, sorted."""
    query = (
        select(address.c.address)
        .join(membership, address.c.address_key == membership.c.address_key)
        .where(membership.c.list_row == row, membership.c.role.in_(list(roles)))
    )
    return tuple(sorted(set(connection.execute(query).scalars())))


def count_members(connection: Connection, row: int, role: Role) -> int:
    """Return how many have a role."""
    query = select(func.count()).where(membership.c.list_row == row, membership.c.role == role)
    return int(connection.execute(query.select_from(membership)).scalar_one())


def recipients_page(connection: Connection, row: int, after: str) -> list[tuple[str, str]]:
    """Return key and address of the next PAGE members who get posts, in order of key."""
    query = (
        select(membership.c.address_key, address.c.address)
        .join(address, address.c.address_key == membership.c.address_key)
        .where(
            membership.c.list_row == row,
            membership.c.address_key > after,
            membership.c.role == "member",
            membership.c.delivery,
        )
        .order_by(membership.c.address_key)
        .limit(PAGE)
    )
    return [(key, written) for key, written in connection.execute(query).all()]
