"""What is due: whose time has come before a moment, oldest first, in pages.

A timer turns each into an item whose id is derived from it, so what stays in this listing until its item has been handled is published once.
"""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Select, func, literal, select, tuple_

from config.names import ListId
from lists.records import Due, DueKind
from lists.store.history import read_time, store_time
from lists.store.schema import address, bounce_record, freeze, mailing_list, membership, request, token

START = (0, 0)  # the place before the first


def list_due(
    connection: Connection, kind: DueKind, before: datetime, after: tuple[int, int], limit: int
) -> tuple[Due, ...]:
    """Return one page; `after` is the last one's place, START for the first page."""
    at, number, query = _select(kind)
    query = query.where(at < store_time(before), tuple_(at, number) > tuple_(*map(literal, after)))
    rows = connection.execute(query.order_by(at, number).limit(limit)).all()
    return tuple(
        Due(kind, read_time(row[0]), ListId(row[2]), row[3], str(row[4]), (row[0], row[1]), *row[5:])
        for row in rows
    )


def _select(
    kind: DueKind,
) -> tuple[ColumnElement[int], ColumnElement[int], Select[int, int, str, str, object]]:
    """Return time, number and the query for time, number, list-id, address and key; for a delivery also when its end was set."""
    match kind:
        case "token":
            c = token.c
            return (
                c.expires_at,
                c.id,
                select(c.expires_at, c.id, c.list_id, c.address, c.hash).where(c.used_at.is_(None)),
            )
        case "request":
            r = request.c
            return r.expires_at, r.id, select(r.expires_at, r.id, r.list_id, r.address, r.id)
        case "freeze":
            f = freeze.c
            return f.until, f.id, select(f.until, f.id, f.list_id, literal(""), f.id)
        case "bounce":
            b = bounce_record.c
            columns = select(
                b.due_at, b.membership_id, mailing_list.c.list_id, address.c.address, b.membership_id
            )
            joined = columns.join(membership, membership.c.id == b.membership_id)
            return b.due_at, b.membership_id, _of_members(joined)
        case "delivery":
            m = membership.c
            columns = select(m.status_until, m.id, mailing_list.c.list_id, address.c.address, m.id)
            joined = _of_members(columns.select_from(membership))
            return m.status_until, m.id, joined.add_columns(func.coalesce(m.status_at, 0))


def _of_members(query: Select[int, int, str, str, object]) -> Select[int, int, str, str, object]:
    return query.join(mailing_list, mailing_list.c.id == membership.c.list_row).join(
        address, address.c.address_key == membership.c.address_key
    )
