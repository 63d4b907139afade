"""What waits for somebody's answer: tokens that are out, and requests to join or leave."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, delete, insert, not_, or_, select, update

from config.names import ItemId, ListId
from lists.changes import CloseRequest, MakeToken, OpenRequest, UseToken
from lists.mailbox import address_key
from lists.records import Request, RequestKind, Token
from lists.store.history import Pen, maybe_time, read_time, store_time
from lists.store.schema import request, token
from lists.subscription import Effect, Event, State, next_step

_TOKEN = select(token).where(token.c.hash == bindparam("hashed"))
_ADD_TOKEN = insert(token)
_USE_TOKEN = (
    update(token)
    .where(token.c.hash == bindparam("hashed"), token.c.used_at.is_(None))
    .values(used_at=bindparam("now_ms"))
    .returning(token.c.list_id, token.c.address, token.c.purpose, token.c.about)
)
_USE_TOKENS_OF = (
    update(token)
    .where(
        token.c.list_id == bindparam("list"),
        token.c.address_key == bindparam("key"),
        token.c.purpose == "confirm",
        or_(token.c.about == bindparam("kind_of"), token.c.about.endswith(bindparam("kind_at_end"))),
        token.c.used_at.is_(None),
    )
    .values(used_at=bindparam("now_ms"))
)
_REQUEST = select(request).where(
    request.c.list_id == bindparam("list"),
    request.c.address_key == bindparam("key"),
    request.c.kind == bindparam("kind_of"),
)
_REQUEST_BY_ID = select(request).where(request.c.id == bindparam("number"))
_ADD_REQUEST = insert(request)
_CLOSE = delete(request).where(request.c.id == bindparam("number"))
_REQUESTS_OF = select(request).where(
    request.c.list_id == bindparam("list"),
    request.c.kind == bindparam("kind_of"),
    request.c.address_key.in_(bindparam("keys", expanding=True)),
)
_USE_TOKENS_OF_LEAVERS = (
    update(token)
    .where(
        token.c.list_id == bindparam("list"),
        token.c.address_key.in_(bindparam("keys", expanding=True)),
        token.c.used_at.is_(None),
        not_(or_(token.c.about == "join", token.c.about.endswith(" join"))),
    )
    .values(used_at=bindparam("now_ms"))
)


# Tokens ---------------------------------------------------------------------------------------------------------------


def make_token(pen: Pen, change: MakeToken) -> None:
    """Remember a token; the same again, of an item that made it before, changes nothing."""
    if pen.connection.execute(_TOKEN, {"hashed": change.hash}).first():
        return
    row = {
        "hash": change.hash,
        "purpose": change.purpose,
        "list_id": change.list_id,
        "address_key": address_key(change.address),
        "address": change.address,
        "item_id": pen.origin.item_id,
        "about": change.about,
        "created_at": pen.now_ms,
        "expires_at": store_time(change.expires_at),
    }
    pen.connection.execute(_ADD_TOKEN, row)
    pen.note(change.list_id, change.address, f"token.{change.purpose}", "", f"sent for {change.about}")


def use_token(pen: Pen, change: UseToken) -> None:
    """Use a token up; nothing happens to one that was used, or is not known."""
    used = pen.connection.execute(_USE_TOKEN, {"hashed": change.hash, "now_ms": pen.now_ms}).first()
    if used is not None:
        pen.note(used.list_id, used.address, f"token.{used.purpose}", f"sent for {used.about}", "used")


def read_token(connection: Connection, token_hash: str) -> Token | None:
    """Return a token, whatever became of it."""
    row = connection.execute(_TOKEN, {"hashed": token_hash}).mappings().first()
    return None if row is None else _token(row)


def list_tokens(
    connection: Connection, list_id: ListId | None, after: int, limit: int
) -> tuple[tuple[int, Token], ...]:
    """Return one page of tokens with their numbers, in order of them, of one list or of all."""
    query = select(token).where(token.c.id > after).order_by(token.c.id).limit(limit)
    if list_id is not None:
        query = query.where(token.c.list_id == list_id)
    return tuple((row["id"], _token(row)) for row in connection.execute(query).mappings().all())


def trim_tokens(connection: Connection, before: datetime, limit: int) -> int:
    """Forget some of the tokens that expired before; returns how many."""
    old = (
        select(token.c.id)
        .where(token.c.expires_at < store_time(before))
        .order_by(token.c.expires_at)
        .limit(limit)
    )
    return int(connection.execute(delete(token).where(token.c.id.in_(old.scalar_subquery()))).rowcount)


def _token(row: Any) -> Token:
    return Token(
        hash=row["hash"],
        purpose=row["purpose"],
        list_id=ListId(row["list_id"]),
        address=row["address"],
        item_id=ItemId(row["item_id"]),
        about=row["about"],
        created_at=read_time(row["created_at"]),
        expires_at=read_time(row["expires_at"]),
        used_at=maybe_time(row["used_at"]),
    )


# Requests -------------------------------------------------------------------------------------------------------------


def open_request(pen: Pen, change: OpenRequest) -> None:
    """Keep a request, or its next state."""
    before = find_request(pen.connection, change.list_id, change.address, change.kind)
    values = {
        "state": change.state,
        "asked_by": change.asked_by,
        "options": msgspec.json.encode(change.options).decode(),
        "expires_at": store_time(change.expires_at),
    }
    if before is not None:
        pen.connection.execute(update(request).where(request.c.id == before.id).values(values))
    else:
        fixed = {
            "list_id": change.list_id,
            "address_key": address_key(change.address),
            "address": change.address,
            "kind": change.kind,
            "item_id": pen.origin.item_id,
            "created_at": pen.now_ms,
        }
        pen.connection.execute(_ADD_REQUEST, values | fixed)
    pen.note(
        change.list_id, change.address, f"request.{change.kind}", before.state if before else "", change.state
    )


def close_request(pen: Pen, change: CloseRequest) -> None:
    """Take a request away, and use its tokens up; nothing happens to one that is gone."""
    before = find_request(pen.connection, change.list_id, change.address, change.kind)
    if before is not None:
        pen.connection.execute(_CLOSE, {"number": before.id})
        _use_tokens_of(pen, before)
        pen.note(change.list_id, before.address, f"request.{change.kind}", before.state, change.result)


def _use_tokens_of(pen: Pen, closed: Request) -> None:
    """Let no token of this request work for the next one of the same address: a moderator has agreed to this one alone."""
    chosen = {
        "list": closed.list_id,
        "key": address_key(closed.address),
        "kind_of": closed.kind,
        "kind_at_end": f" {closed.kind}",
        "now_ms": pen.now_ms,
    }
    pen.connection.execute(_USE_TOKENS_OF, chosen)


def withdraw_requests(pen: Pen, list_id: str, keys: Collection[str], kind: RequestKind) -> None:
    """End what these addresses had asked for: it has come about without an answer, by a command or by bounces."""
    wanted = {"list": list_id, "kind_of": kind, "keys": list(keys)}
    for row in pen.connection.execute(_REQUESTS_OF, wanted).mappings().all():
        found = _request(row)
        if Effect.CLOSE in next_step(State(found.state), Event.WITHDRAWN).effects:
            closing = CloseRequest(
                list_id=found.list_id, address=found.address, kind=found.kind, result="withdrawn"
            )
            close_request(pen, closing)


def use_tokens_of_leavers(pen: Pen, list_id: str, keys: Collection[str]) -> None:
    """Let no token of an ended membership (settings, delivery, a probe) work for the next one; one for joining again stays."""
    pen.connection.execute(
        _USE_TOKENS_OF_LEAVERS, {"list": list_id, "keys": list(keys), "now_ms": pen.now_ms}
    )


def find_request(connection: Connection, list_id: str, address: str, kind: str) -> Request | None:
    """Return the open request of an address."""
    chosen = {"list": list_id, "key": address_key(address), "kind_of": kind}
    row = connection.execute(_REQUEST, chosen).mappings().first()
    return None if row is None else _request(row)


def read_request(connection: Connection, number: int) -> Request | None:
    """Return an open request by its number."""
    row = connection.execute(_REQUEST_BY_ID, {"number": number}).mappings().first()
    return None if row is None else _request(row)


def list_requests(
    connection: Connection, list_id: ListId | None, after: int, limit: int
) -> tuple[Request, ...]:
    """Return one page of open requests, oldest first, of one list or of all."""
    query = select(request).where(request.c.id > after).order_by(request.c.id).limit(limit)
    if list_id is not None:
        query = query.where(request.c.list_id == list_id)
    return tuple(_request(row) for row in connection.execute(query).mappings().all())


def _request(row: Any) -> Request:
    return Request(
        id=row["id"],
        list_id=ListId(row["list_id"]),
        address=row["address"],
        kind=row["kind"],
        state=row["state"],
        asked_by=row["asked_by"],
        options=msgspec.json.decode(row["options"], type=dict[str, str]),
        item_id=ItemId(row["item_id"]),
        created_at=read_time(row["created_at"]),
        expires_at=read_time(row["expires_at"]),
    )
