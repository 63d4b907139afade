"""What operators ask and order: status, pause, the shunted, where a message is.

The answers are plain maps and lists (msgpack); times are ISO 8601 in UTC. What needs the journal is asked in its thread.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from bus import messages
from bus.books import imbalance
from bus.hub import Hub
from bus.intake import is_id
from bus.journal.api import Corrupt, Counters, Drop, Journal, Pause, Row, Shunted, State, Unshunt, Work
from bus.messages import Answer, Ask, Item, Note
from bus.order import Entry
from bus.peers import Peer
from config.names import ItemId, ListId, Queue

PAGE = 500  # shunted items read at a time
BATCH = 500  # items released or dropped in one operation
MAX_LISTED = 10_000  # of one listing; narrow it by queue or list
_COUNTERS = ("accepted", "produced", "released", "done", "dropped", "suppressed", "held")

Reply = Callable[..., None]  # (data, content=None, error="")


class BadQuestion(Exception):
    """An Ask that cannot be answered; the text goes to the asker."""


class Arguments(Struct, frozen=True):
    """The arguments of an Ask, by name."""

    values: dict[str, Any]

    def text(self, name: str) -> str | None:
        """Return a text, None when it is absent."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, str):
            raise BadQuestion(f"{name} is a text")
        return value or None

    def needed(self, name: str) -> str:
        """Return a text that must be there."""
        value = self.text(name)
        if value is None:
            raise BadQuestion(f"{name} is missing")
        return value

    def ids(self) -> frozenset[ItemId] | None:
        """Return the list of ids, None when it is absent."""
        value = self.values.get("ids")
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            raise BadQuestion("ids is a list of texts")
        return frozenset(map(ItemId, value))


class Answers:
    """Answers operators."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._questions: dict[str, Callable[[Arguments, Reply], None]] = {
            "status": self._status,
            "pause": partial(self._pause, True),
            "resume": partial(self._pause, False),
            "shunts": self._shunts,
            "shunt": self._shunt,
            "unshunt": self._unshunt,
            "drop": self._drop,
            "find": self._find,
            "holds": self._holds,
            "heard": lambda _, reply: reply(None),
        }

    def ask(self, peer: Peer, message: Ask, _: Sequence[bytes]) -> None:
        """Answer now, or when the journal's thread has."""

        def reply(data: Any, content: bytes | None = None, error: str = "") -> None:
            answer = Answer(data=data, error=error, number=message.number)
            self._hub.post.send(peer.instance, answer, [] if content is None else [content])

        try:
            question = self._questions.get(message.what)
            if question is None:
                raise BadQuestion(f"no such question: {message.what}")
            question(Arguments(message.args), reply)
        except BadQuestion as error:
            self._hub.post.send(peer.instance, Answer(error=str(error), number=message.number))

    # Status ------------------------------------------------------------------------------------------------------------

    def _status(self, _: Arguments, reply: Reply) -> None:
        self._hub.committer.ask(lambda journal: journal.counters(), partial(self._tell_status, reply))

    def _tell_status(self, reply: Reply, counters: dict[Queue, Counters]) -> None:
        now, hub = time.monotonic(), self._hub
        clients = [
            {
                "name": peer.name,
                "role": peer.role,
                "instance": peer.instance,
                "pid": peer.pid,
                "heard_s": round(now - peer.heard, 1),
            }
            for peer in hub.peers.by_instance.values()
            if peer.role != "admin"
        ]
        queues = [self._queue_status(queue, counters.get(queue, Counters())) for queue in hub.queues()]
        flow = hub.flow.flow
        reply(
            {
                "queues": queues,
                "flow": {
                    "state": flow.state,
                    "reason": flow.reason,
                    "full": list(flow.full),
                    "delay_ms": flow.delay_ms,
                    "fronts": flow.fronts,
                    "resting": sorted(hub.flow.stopped),  # not leased, since what they lead to is full
                },
                "epoch": hub.epoch,
                "clients": clients,
            }
        )

    def _queue_status(self, queue: Queue, counters: Counters) -> dict[str, Any]:
        hub, now_ms = self._hub, self._hub.clock.time_ms()
        order = hub.dispatch.order_of(queue)
        gauges = order.gauges()
        return {
            "queue": queue,
            **gauges,
            "oldest_age_s": round(max(0, now_ms - order.oldest_ms(now_ms)) / 1000, 1),
            **{name: getattr(counters, name) for name in _COUNTERS},
            "paused": queue in hub.dispatch.paused,
            "balanced": imbalance(counters, sum(gauges.values())) == 0,
        }

    # Pause -------------------------------------------------------------------------------------------------------------

    def _pause(self, is_paused: bool, arguments: Arguments, reply: Reply) -> None:
        queue = Queue(arguments.needed("queue"))
        if queue not in self._hub.queues():
            raise BadQuestion(f"no such queue: {queue}")
        operation = Pause(queue=queue, paused=is_paused)
        self._hub.committer.submit(operation, partial(self._paused, operation, reply))

    def _paused(self, operation: Pause, reply: Reply, _: None) -> None:
        if operation.paused:
            self._hub.dispatch.paused.add(operation.queue)
        else:
            self._hub.dispatch.paused.discard(operation.queue)
        self._hub.log.warning("queue.paused" if operation.paused else "queue.resumed", queue=operation.queue)
        reply({"queue": operation.queue, "paused": operation.paused})

    # The shunted -------------------------------------------------------------------------------------------------------

    def _shunts(self, arguments: Arguments, reply: Reply) -> None:
        queue, list_id = arguments.text("queue"), arguments.text("list_id")

        def read(journal: Journal) -> list[dict[str, Any]]:
            found: list[Shunted] = []
            page: list[Shunted] | None = None
            while page is None or (len(page) == PAGE and len(found) < MAX_LISTED):
                after_row = found[-1].row if found else 0
                page = journal.shunted(
                    Queue(queue) if queue else None, ListId(list_id) if list_id else None, after_row, PAGE
                )
                found += page
            return [_show(shunted) for shunted in found]

        self._hub.committer.ask(read, reply)

    def _shunt(self, arguments: Arguments, reply: Reply) -> None:
        item_id = ItemId(arguments.needed("id"))
        rows = [
            row
            for order in self._hub.dispatch.queues.values()
            for row, entry in order.shunted.items()
            if entry.row.id == item_id
        ]
        if not rows:
            raise BadQuestion(f"no shunted item {item_id}")

        def read(journal: Journal) -> tuple[Shunted, Work | None] | None:
            found = journal.shunted(None, None, rows[0] - 1, 1)
            if not found or found[0].row != rows[0]:
                return None  # dropped meanwhile
            try:
                return found[0], journal.fetch(rows)[0]
            except Corrupt:  # that is why it was shunted
                return found[0], None

        def tell(found: tuple[Shunted, Work | None] | None) -> None:
            if found is None:
                reply(None, error=f"no shunted item {item_id}")
            else:
                shunted, work = found
                reply({**_show(shunted), "item": _plain(shunted.item)}, work.content if work else b"")

        self._hub.committer.ask(read, tell)

    def _unshunt(self, arguments: Arguments, reply: Reply) -> None:
        entries = self._pick(arguments)
        for batch in _batches(entries):
            self._hub.committer.submit(
                Unshunt(rows=tuple(entry.row.row for entry in batch)), partial(self._unshunted, batch)
            )
        self._hub.committer.ask(lambda _: {"count": len(entries)}, reply)

    def _unshunted(self, entries: Sequence[Entry], rows: Sequence[Row]) -> None:
        by_row = {row.row: row for row in rows}
        for entry in entries:
            if entry.row.row in by_row:
                self._hub.dispatch.unshunt(entry, by_row[entry.row.row])
                self._say("item.released", entry)

    def _drop(self, arguments: Arguments, reply: Reply) -> None:
        entries = self._pick(arguments)
        for batch in _batches(entries):
            self._hub.committer.submit(
                Drop(rows=tuple(entry.row.row for entry in batch)), partial(self._dropped, batch)
            )
        self._hub.committer.ask(lambda _: {"count": len(entries)}, reply)

    def _dropped(self, entries: Sequence[Entry], _: None) -> None:
        for entry in entries:
            self._hub.dispatch.remove(entry)
            self._say("item.dropped", entry)

    def _pick(self, arguments: Arguments) -> list[Entry]:
        ids, queue, list_id = arguments.ids(), arguments.text("queue"), arguments.text("list_id")
        if ids is None and queue is None and list_id is None:
            raise BadQuestion("say which: ids, queue or list_id")
        return self._hub.dispatch.pick_shunted(
            ids, Queue(queue) if queue else None, ListId(list_id) if list_id else None
        )

    def _say(self, event: str, entry: Entry) -> None:
        row = entry.row
        self._hub.log.info(event, item_id=row.id, queue=row.queue, list_id=row.list_id)

    # Where a message is ------------------------------------------------------------------------------------------------

    def _find(self, arguments: Arguments, reply: Reply) -> None:
        text = arguments.needed("id")

        def tell(found: list[tuple[Row, Item, tuple[Note, ...], str]]) -> None:
            reply([self._place(*one) for one in found])

        self._hub.committer.ask(lambda journal: journal.find(text), tell)

    def _place(self, row: Row, item: Item, notes: tuple[Note, ...], reason: str) -> dict[str, Any]:
        """Tell what is known of one item; whether it is leased only dispatch knows."""
        order = self._hub.dispatch.order_of(row.queue)
        entry = order.live.get(row.row) or order.shunted.get(row.row)
        return {
            "item_id": item.id,
            "root_id": item.root_id,
            "queue": item.queue,
            "list_id": item.list_id,
            "recipient": item.recipient,
            "state": entry.state if entry else row.state.name.lower(),
            "due_at": _iso(row.due_ms) if row.state is State.DEFERRED else None,
            "attempts": row.attempts,
            "reason": reason,
            "notes": [_plain(note) for note in notes],
        }

    def _holds(self, arguments: Arguments, reply: Reply) -> None:
        ids = tuple(one for one in arguments.ids() or () if is_id(one))
        self._hub.committer.ask(lambda journal: sorted(journal.existing(ids)), reply)


def _show(shunted: Shunted) -> dict[str, Any]:
    item = shunted.item
    return {
        "item_id": item.id,
        "queue": item.queue,
        "list_id": item.list_id,
        "reason": shunted.reason,
        "detail": shunted.detail,
        "at": _iso(shunted.at_ms),
        "recipient": item.recipient,
        "attempts": shunted.attempts,
        "crashes": shunted.crashes,
    }


def _plain(value: Item | Note) -> Any:
    return msgspec.msgpack.decode(messages.encode(value))


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _batches(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    return [entries[start : start + BATCH] for start in range(0, len(entries), BATCH)]
