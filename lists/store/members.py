"""Addresses and memberships in the store; persons.py has who they belong to.

Long listings go in pages by key, each a read of its own; imports go in batches, each a short write of its own, so that neither stops
the mail (one open read stops every commit, one long write every other writer).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    tuple_,
)

from config.names import ListId
from lists.changes import JoinMember
from lists.mailbox import address_key, fold_domain
from lists.model import Member, Role
from lists.store.history import Pen, maybe_time, read_time
from lists.store.rolls import ROLES_OF_RCPT
from lists.store.schema import address, bounce_record, mailing_list, membership
from lists.store.versions import note_change
from lists.store.waiting import use_tokens_of_leavers, withdraw_requests

PAGE = 10_000  # members read at once: about 10 ms

_COLUMNS = (
    address.c.address,
    membership.c.role,
    membership.c.address_key,
    membership.c.id,
    membership.c.created_at,
    membership.c.moderation_action,
    membership.c.display_name,
    membership.c.language,
    membership.c.delivery_mode,
    membership.c.delivery_status,
    membership.c.status_by,
    membership.c.status_why,
    membership.c.status_at,
    membership.c.status_until,
    membership.c.receive_own_postings,
    membership.c.acknowledge_posts,
    membership.c.hide_address,
)
_FROM = select(*_COLUMNS).join(address, address.c.address_key == membership.c.address_key)
_OF_ADDRESS = _FROM.where(
    membership.c.list_row == bindparam("row"), membership.c.address_key == bindparam("key")
)
_MEMBER = _OF_ADDRESS.where(membership.c.role == bindparam("role"))
_ROLES = _OF_ADDRESS.order_by(membership.c.role)
_AMONG = _FROM.where(
    membership.c.list_row == bindparam("row"),
    membership.c.role == bindparam("role"),
    membership.c.address_key.in_(bindparam("keys", expanding=True)),
).order_by(membership.c.address_key)
_BY_ID = (
    _FROM.join(mailing_list, mailing_list.c.id == membership.c.list_row)
    .add_columns(mailing_list.c.list_id)
    .where(membership.c.id == bindparam("number"))
)
_WITH_ROLES = (
    select(address.c.address)
    .join(membership, address.c.address_key == membership.c.address_key)
    .where(
        membership.c.list_row == bindparam("row"), membership.c.role.in_(bindparam("roles", expanding=True))
    )
)
_KNOWN_MEMBERS = select(membership.c.address_key).where(
    membership.c.list_row == bindparam("row"),
    membership.c.role == bindparam("role"),
    membership.c.address_key.in_(bindparam("keys", expanding=True)),
)
_KNOWN_ADDRESSES = select(address.c.address_key).where(
    address.c.address_key.in_(bindparam("keys", expanding=True))
)
_ADD_MEMBERS = insert(membership)
_ADD_ADDRESSES = insert(address)


def _member(row: Sequence[Any]) -> Member:
    """Read a row of _COLUMNS."""
    values = list(row)
    values[4], values[12], values[13] = read_time(row[4]), maybe_time(row[12]), maybe_time(row[13])
    return Member(*values)


def add_members(pen: Pen, row: int, list_id: str, joining: Sequence[JoinMember], role: Role) -> int:
    """Add one batch of checked addresses; returns how many were new. The version rises once, if any was."""
    by_key: dict[str, JoinMember] = {}
    for each in joining:
        by_key.setdefault(address_key(each.address), each)
    chosen = {"row": row, "role": role, "keys": list(by_key)}
    known = set(pen.connection.execute(_KNOWN_MEMBERS, chosen).scalars())
    missing = {key: each for key, each in by_key.items() if key not in known}
    if not missing:
        return 0
    add_addresses(pen.connection, {key: each.address for key, each in missing.items()}, pen.now_ms)
    values = [
        {
            "list_row": row,
            "address_key": key,
            "role": role,
            "moderation_action": "",
            "created_at": pen.now_ms,
            "display_name": each.display_name,
            "language": each.language,
            "delivery_mode": each.delivery_mode,
        }
        for key, each in missing.items()
    ]
    pen.connection.execute(_ADD_MEMBERS, values)
    pen.note_all(list_id, [(each.address, "joined", "", role) for each in missing.values()])
    if role == "member":
        withdraw_requests(pen, list_id, missing, "join")
    if role in ROLES_OF_RCPT:
        note_change(pen.connection, [row])
    return len(missing)


def add_addresses(connection: Connection, by_key: dict[str, str], now_ms: int) -> None:
    """Write down the addresses that are not known yet; one that is keeps its first spelling."""
    known = set(connection.execute(_KNOWN_ADDRESSES, {"keys": list(by_key)}).scalars())
    rows = [
        {"address_key": key, "address": written, "created_at": now_ms}
        for key, written in by_key.items()
        if key not in known
    ]
    if rows:
        connection.execute(_ADD_ADDRESSES, rows)


def remove_members(pen: Pen, row: int, list_id: str, addresses: Sequence[str], role: Role | None) -> int:
    """Take one batch of addresses out of a list, out of every role without `role`; returns how many memberships went."""
    chosen = and_(
        membership.c.list_row == row, membership.c.address_key.in_([address_key(each) for each in addresses])
    )
    if role is not None:
        chosen = and_(chosen, membership.c.role == role)
    going = pen.connection.execute(
        select(membership.c.id, membership.c.role, address.c.address)
        .join(address, address.c.address_key == membership.c.address_key)
        .where(chosen)
    ).all()
    numbers = [number for number, _, _ in going]
    pen.connection.execute(delete(bounce_record).where(bounce_record.c.membership_id.in_(numbers)))
    pen.connection.execute(delete(membership).where(membership.c.id.in_(numbers)))
    pen.note_all(list_id, [(written, "left", gone, "") for _, gone, written in going])
    leavers = [address_key(written) for _, gone, written in going if gone == "member"]
    if leavers:
        withdraw_requests(pen, list_id, leavers, "leave")
        use_tokens_of_leavers(pen, list_id, leavers)
    if ROLES_OF_RCPT.intersection(gone for _, gone, _ in going):
        note_change(pen.connection, [row], rewritten=True)
    return len(going)


def list_members(
    connection: Connection, row: int, role: Role | None, after: str, limit: int
) -> tuple[Member, ...]:
    """Return one page of a list's members in order of key and role."""
    key, _, last_role = after.rpartition(" ") if " " in after else (after, "", "~")
    query = (
        _FROM.where(membership.c.list_row == row)
        .order_by(membership.c.address_key, membership.c.role)
        .limit(limit)
    )
    if after:
        query = query.where(tuple_(membership.c.address_key, membership.c.role) > tuple_(key, last_role))
    if role is not None:
        query = query.where(membership.c.role == role)
    return tuple(map(_member, connection.execute(query).all()))


def find_member(connection: Connection, row: int, written: str, role: Role = "member") -> Member | None:
    """Return one membership by address, any spelling of it."""
    chosen = {"row": row, "key": address_key(written), "role": role}
    found = connection.execute(_MEMBER, chosen).first()
    return _member(found) if found else None


def member_by_id(connection: Connection, number: int) -> tuple[ListId, Member] | None:
    """Return a membership by its number, with its list."""
    found = connection.execute(_BY_ID, {"number": number}).first()
    return None if found is None else (ListId(found[-1]), _member(found[:-1]))


def memberships_of(connection: Connection, row: int, written: str) -> tuple[Member, ...]:
    """Return every role that an address has in a list."""
    chosen = {"row": row, "key": address_key(written)}
    return tuple(map(_member, connection.execute(_ROLES, chosen).all()))


def members_among(
    connection: Connection, row: int, addresses: Iterable[str], role: Role
) -> tuple[Member, ...]:
    """Return the memberships that any of these addresses has in a role, in order of key."""
    chosen = {"row": row, "role": role, "keys": [address_key(each) for each in addresses]}
    return tuple(map(_member, connection.execute(_AMONG, chosen).all()))


def addresses_of(connection: Connection, row: int, roles: Iterable[Role]) -> tuple[str, ...]:
    """Return the addresses that have one of these few-membered roles, each once, sorted."""
    found = connection.execute(_WITH_ROLES, {"row": row, "roles": list(roles)})
    return tuple(sorted(set(found.scalars())))


def count_members(connection: Connection, row: int, role: Role) -> int:
    """Return how many have a role."""
    query = select(func.count()).where(membership.c.list_row == row, membership.c.role == role)
    return int(connection.execute(query.select_from(membership)).scalar_one())


def count_members_at(connection: Connection, row: int, domain: str) -> int:
    """Return how many members are at a domain, its subdomains not counted."""
    query = select(func.count()).where(
        membership.c.list_row == row,
        membership.c.role == "member",
        membership.c.address_key.endswith(f"@{fold_domain(domain)}", autoescape=True),
    )
    return int(connection.execute(query.select_from(membership)).scalar_one())


def recipients_page(connection: Connection, row: int, after: str) -> list[tuple[str, str, int, bool]]:
    """Return key, address, membership and "wants own posts" of the next PAGE members who get posts, in order of key."""
    query = (
        select(
            membership.c.address_key,
            address.c.address,
            membership.c.id,
            membership.c.receive_own_postings,
        )
        .join(address, address.c.address_key == membership.c.address_key)
        .where(
            membership.c.list_row == row,
            membership.c.address_key > after,
            membership.c.role == "member",
            membership.c.delivery_status == "enabled",
        )
        .order_by(membership.c.address_key)
        .limit(PAGE)
    )
    return [(key, written, number, own) for key, written, number, own in connection.execute(query).all()]
