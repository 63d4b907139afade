"""Posts that wait for a moderator: octet for octet as they came, and what a listing shows of them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from config.names import ItemId, ListId
from lists.changes import HoldPost
from lists.errors import NoSuchHeld
from lists.model import HeldPost
from lists.store.schema import held_post

_COLUMNS = (
    held_post.c.id,
    held_post.c.list_id,
    held_post.c.reverse_path,
    held_post.c.reason,
    held_post.c.created_at,
    held_post.c.message_id,
    held_post.c.subject,
    held_post.c.size,
    held_post.c.item_id,
)


def hold_post(connection: Connection, item_id: str, change: HoldPost, now_ms: int) -> None:
    """Keep a post."""
    connection.execute(
        insert(held_post).values(
            list_id=change.list_id,
            item_id=item_id,
            reverse_path=change.reverse_path,
            reason=change.reason,
            message_id=change.message_id,
            subject=change.subject,
            size=len(change.content),
            created_at=now_ms,
            content=change.content,
        )
    )


def release_held(connection: Connection, number: int) -> None:
    """Keep a post no longer; nothing happens to one that is gone."""
    connection.execute(delete(held_post).where(held_post.c.id == number))


def list_held(connection: Connection, list_id: ListId | None, after: int, limit: int) -> tuple[HeldPost, ...]:
    """Return one page of held posts, oldest first, of one list or of all."""
    query = select(*_COLUMNS).where(held_post.c.id > after).order_by(held_post.c.id).limit(limit)
    if list_id is not None:
        query = query.where(held_post.c.list_id == list_id)
    return tuple(_read(row) for row in connection.execute(query).all())


def find_held(connection: Connection, number: int) -> HeldPost | None:
    """Return what is known of a held post."""
    row = connection.execute(select(*_COLUMNS).where(held_post.c.id == number)).first()
    return _read(row) if row else None


def find_held_by_item(connection: Connection, list_id: ListId, item_id: ItemId) -> HeldPost | None:
    """Return what is known of the post that an item was; among those of its list, which are few."""
    query = select(*_COLUMNS).where(held_post.c.list_id == list_id, held_post.c.item_id == item_id)
    row = connection.execute(query).first()
    return _read(row) if row else None


def held_content(connection: Connection, number: int) -> bytes:
    """Return a held post's octets; raises NoSuchHeld."""
    content = connection.execute(select(held_post.c.content).where(held_post.c.id == number)).scalar()
    if content is None:
        raise NoSuchHeld(number)
    return bytes(content)


def _read(row: Sequence[Any]) -> HeldPost:
    number, list_id, reverse_path, reason, at, message_id, subject, size, item_id = row
    return HeldPost(
        number,
        ListId(list_id),
        reverse_path,
        reason,
        datetime.fromtimestamp(at / 1000, UTC),
        message_id,
        subject,
        size,
        ItemId(item_id),
    )
