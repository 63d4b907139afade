"""New mail: what a front-end publishes is stored and confirmed, or refused whole.

A confirmation is sent when the journal has said that the items are durable, never before (DESIGN P1). The same
items may be published again at any time: the journal knows their ids and the answer is the same.
"""

import re
from collections.abc import Sequence
from functools import partial

from bus.hub import Hub
from bus.journal.api import Acknowledged, Store, Stored, Work
from bus.messages import Item, Publish, Refused, Replied
from bus.peers import Peer
from config.failpoints import fail
from config.names import Instance, ItemId

MAX_PENDING = 256 * 2**20  # octets that wait for the disk; more is told to come later
SIZE_MARGIN = 2**20  # octets over [lmtp] max_size: headers that the front-end adds
MAX_ITEMS = 10_000  # of one publish; [lmtp] max_recipients is 1,000
is_id = re.compile(r"[0-9a-f]{32}").fullmatch
is_queue = re.compile(r"[a-z][a-z0-9_-]{0,31}").fullmatch


class Intake:
    """Takes new mail in."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._pending: set[tuple[Instance, ItemId]] = set()

    def publish(self, peer: Peer, message: Publish, bodies: Sequence[bytes]) -> None:
        """Store these items with their content: all or none."""
        fail("bus.publish.received")
        refused = self._judge(message, bodies)
        if refused is not None:
            if refused.kind == "bad":
                self._hub.log.warning("bus.problem", code="bad", text=refused.reason, client=peer.name)
            self._hub.post.answer(peer.identity, refused)
            return
        key = (peer.instance, message.items[0].id)
        if key in self._pending:  # sent again before its commit ended: one answer does for both
            return
        self._pending.add(key)
        operation = Store(
            items=message.items,
            content=bodies[0],
            content_keys=message.content_keys,
            released=message.released,
        )
        self._hub.committer.submit(operation, partial(self._stored, peer.instance, operation))

    def replied(self, peer: Peer, message: Replied, _: Sequence[bytes]) -> None:
        """Note that our 250 was read: the same mail again is wanted again."""
        ids = tuple(filter(is_id, message.ids))
        self._hub.committer.submit(Acknowledged(ids=ids), _nothing)

    def _stored(self, instance: Instance, operation: Store, result: Stored | Refused) -> None:
        items = operation.items
        first = items[0].id
        self._pending.discard((instance, first))
        if isinstance(result, Refused):
            self._hub.post.send(instance, result)
            return
        if result.rows:
            content = operation.content
            works = {item.id: Work(item=item, content=content, recipients=None, notes=()) for item in items}
            self._hub.add(result.rows, items, works)
        self._hub.post.confirm(instance, first, result.ids)
        for item, stored_id in zip(items, result.ids, strict=True):
            if item.id != stored_id:
                self._hub.log.info("item.suppressed", item_id=item.id, first_id=stored_id, queue=item.queue)

    def _judge(self, message: Publish, bodies: Sequence[bytes]) -> Refused | None:
        """Say why a publish is not taken, None when it is."""
        items = message.items
        first = items[0].id if items else ItemId("")
        fault = _find_fault(message, bodies)
        if fault:
            return Refused(first, "bad", fault)
        flow = self._hub.flow
        if len(bodies[0]) > self._hub.settings.lmtp.max_size + SIZE_MARGIN:
            return Refused(first, "size", "content too large")
        if flow.flow.state != "ok":
            return Refused(first, "full" if flow.flow.reason == "disk" else "busy", flow.flow.reason)
        if self._hub.committer.octets > MAX_PENDING:
            return Refused(first, "busy", "too much new mail waits for the disk")
        if not message.released:
            for queue in {item.queue for item in items}:
                if flow.is_above_all(self._hub.dispatch.order_of(queue)):
                    return Refused(first, "full", f"queue {queue} is full")
        return None


def find_item_fault(item: Item) -> str:
    """Say what is wrong with an item, "" when nothing is."""
    if not is_id(item.id) or not is_id(item.root_id):
        return "an id is not 32 lower-case hex digits"
    if not is_queue(item.queue):
        return "no name of a queue"
    if item.recipients:
        return "recipients travel in a frame of their own"
    if item.part is not None and not 0 <= item.part[0] <= item.part[1]:
        return "a part that is none"
    return ""


def _find_fault(message: Publish, bodies: Sequence[bytes]) -> str:
    if not 1 <= len(message.items) <= MAX_ITEMS or len(bodies) != 1:
        return "a publish has items and one content"
    if message.content_keys and len(message.content_keys) != len(message.items):
        return "one content key an item"
    if len({item.id for item in message.items}) != len(message.items):
        return "two items with one id"
    for item in message.items:
        fault = find_item_fault(item) or ("recipients without a frame" if item.part is not None else "")
        if fault:
            return fault
    return ""


def _nothing(_: object) -> None:
    """It is written down; nobody waits for that."""
