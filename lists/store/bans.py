"""Bans in the store: of one list, or of the whole site (list-id "")."""

from datetime import UTC, datetime

from sqlalchemy import Connection, Select, bindparam, delete, insert, select

from config.names import ListId
from lists.errors import NoSuchBan
from lists.model import Ban
from lists.store.history import Pen
from lists.store.schema import ban
from lists.store.versions import note_change

_BANS = select(ban.c.list_id, ban.c.pattern, ban.c.created_at).order_by(ban.c.list_id, ban.c.pattern)
_BANS_OF = _BANS.where(ban.c.list_id == bindparam("list"))


def add_ban(pen: Pen, list_row: int | None, list_id: ListId, pattern: str) -> bool:
    """Ban a checked pattern; False: it was banned already."""
    connection = pen.connection
    if connection.execute(_chosen(list_id, pattern)).first():
        return False
    connection.execute(insert(ban).values(list_id=list_id, pattern=pattern, created_at=pen.now_ms))
    pen.note(list_id, "", "ban", "", pattern)
    note_change(connection, [] if list_row is None else [list_row])
    return True


def remove_ban(pen: Pen, list_row: int | None, list_id: ListId, pattern: str) -> None:
    """Lift a ban; raises NoSuchBan."""
    connection = pen.connection
    found = connection.execute(_chosen(list_id, pattern)).scalar()
    if found is None:
        raise NoSuchBan(pattern)
    connection.execute(delete(ban).where(ban.c.id == found))
    pen.note(list_id, "", "ban", pattern, "")
    note_change(connection, [] if list_row is None else [list_row])


def _chosen(list_id: ListId, pattern: str) -> Select[int]:
    return select(ban.c.id).where(ban.c.list_id == list_id, ban.c.pattern == pattern)


def read_bans(connection: Connection, list_id: ListId | None = None) -> tuple[Ban, ...]:
    """Return the bans of one list ("" for the site's), None: all of them."""
    found = connection.execute(_BANS) if list_id is None else connection.execute(_BANS_OF, {"list": list_id})
    return tuple(
        Ban(ListId(row[0]), row[1], datetime.fromtimestamp(row[2] / 1000, UTC)) for row in found.all()
    )
