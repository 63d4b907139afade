"""What runners say of their leases: done, again later, set aside, a note, not begun.

A settlement under a lease that is not the sender's changes nothing and is answered "stale". One that was heard before is
answered as it was then. "done" is said when the journal has said so.
"""

from collections.abc import Sequence
from functools import partial
from itertools import islice

from bus.hub import Hub
from bus.intake import find_item_fault
from bus.journal.api import Blame, Defer, Settle, SettledRow, Shunt, Work, Write
from bus.leases import Lease, Standing
from bus.messages import MAX_OUTPUTS, Ack, Acks, LeaseToken, Note, Progress, Retry, Return, SetAside, noted
from bus.order import Entry
from bus.peers import Peer
from config.names import ItemId

MAX_DETAIL = 8192  # characters kept of what a shunt says to a person


class Settling:
    """Ends leases."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def ack(self, peer: Peer, message: Ack, bodies: Sequence[bytes]) -> None:
        """Take the item out and put its outputs in, in one transaction (DESIGN P4)."""
        lease = self._lease(peer, message.lease)
        if lease is None:
            return
        fault = _find_fault(message, bodies)
        if fault:
            self._hub.log.error(
                "bus.problem", code="bad", text=fault, client=peer.name, item_id=lease.entry.row.id
            )
            self._shunt(
                peer,
                lease,
                message.lease,
                Shunt(row=lease.entry.row.row, reason="bad-ack", detail=fault),
                "refused",
            )
            return
        entry = self._hub.dispatch.settle(lease)
        operation = Settle(
            row=entry.row.row,
            outputs=message.outputs,
            bodies=tuple(bodies),
            held=message.held,
            note=message.note,
        )
        self._hub.committer.submit(operation, partial(self._acked, peer, message.lease, entry, operation))

    def acks(self, peer: Peer, message: Acks, bodies: Sequence[bytes]) -> None:
        """Do so with each of several."""
        frames = iter(bodies)
        for ack, count in message.acks:
            self.ack(peer, ack, tuple(islice(frames, count)))

    def retry(self, peer: Peer, message: Retry, _: Sequence[bytes]) -> None:
        """Let the item wait, or set it aside when it has been tried enough."""
        lease = self._lease(peer, message.lease)
        if lease is None:
            return
        operations = self._hub.dispatch.judge_retry(lease, message, self._hub.clock.time_ms())
        entry = self._hub.dispatch.settle(lease)
        for operation in operations:
            match operation:
                case Blame():
                    self._hub.committer.submit(operation, _nothing)
                case Defer():
                    self._hub.committer.submit(
                        operation, partial(self._deferred, peer, message.lease, entry, operation)
                    )
                case Shunt():
                    self._hub.committer.submit(
                        operation, partial(self._shunted, peer, message.lease, entry, operation, "done")
                    )

    def set_aside(self, peer: Peer, message: SetAside, _: Sequence[bytes]) -> None:
        """Shunt the item for a person."""
        lease = self._lease(peer, message.lease)
        if lease is not None:
            operation = Shunt(
                row=lease.entry.row.row, reason=message.reason, detail=message.detail[:MAX_DETAIL]
            )
            self._shunt(peer, lease, message.lease, operation, "done")

    def progress(self, peer: Peer, message: Progress, _: Sequence[bytes]) -> None:
        """Write a note down under a lease that goes on."""
        lease = self._lease(peer, message.lease)
        if lease is not None:
            operation = Write(row=lease.entry.row.row, note=message.note)
            self._hub.committer.submit(operation, partial(self._noted, peer, message.lease, message.note))

    def give_back(self, peer: Peer, message: Return, _: Sequence[bytes]) -> None:
        """Give the item to another at once; nobody is to blame, and nobody waits for an answer."""
        lease = self._hub.dispatch.lease(peer.instance, message.lease.number)
        if message.lease.epoch == self._hub.epoch and isinstance(lease, Lease):
            self._hub.dispatch.give_back(lease)

    def _lease(self, peer: Peer, token: LeaseToken) -> Lease | None:
        """Find the lease of a settlement; without one the sender is told what its token means."""
        standing: Lease | Standing = Standing.STALE
        if token.epoch == self._hub.epoch:
            standing = self._hub.dispatch.lease(peer.instance, token.number)
        if isinstance(standing, Lease):
            return standing
        if standing is not Standing.PENDING:
            result = "done" if standing is Standing.DONE else "stale"
            self._hub.post.settle(peer.instance, token, result)
        return None

    def _shunt(self, peer: Peer, lease: Lease, token: LeaseToken, operation: Shunt, result: str) -> None:
        entry = self._hub.dispatch.settle(lease)
        self._hub.committer.submit(operation, partial(self._shunted, peer, token, entry, operation, result))

    # What is durable ---------------------------------------------------------------------------------------------------

    def _acked(
        self, peer: Peer, token: LeaseToken, entry: Entry, operation: Settle, result: SettledRow
    ) -> None:
        hub = self._hub
        hub.dispatch.remove(entry)
        if result.rows:
            hub.add(result.rows, (placed.item for placed in operation.outputs), _works(operation))
        self._say(peer, token, "done" if result.done else "stale")

    def _deferred(self, peer: Peer, token: LeaseToken, entry: Entry, operation: Defer, _: None) -> None:
        self._hub.dispatch.put_off(entry, operation)
        self._say(peer, token, "done")
        row = entry.row
        self._hub.log.info(
            "item.retried",
            item_id=row.id,
            queue=row.queue,
            list_id=row.list_id,
            attempt=row.attempts,
            reason=operation.reason,
            delay_s=round((operation.due_ms - self._hub.clock.time_ms()) / 1000, 1),
        )

    def _shunted(
        self, peer: Peer, token: LeaseToken, entry: Entry, operation: Shunt, result: str, _: None
    ) -> None:
        self._hub.dispatch.shunt(entry)
        self._say(peer, token, result)
        self._hub.say_shunted(entry.row, operation)

    def _noted(self, peer: Peer, token: LeaseToken, note: Note, _: None) -> None:
        self._hub.post.settle(peer.instance, token, noted(note))

    def _say(self, peer: Peer, token: LeaseToken, result: str) -> None:
        self._hub.dispatch.finished(token.number)
        self._hub.post.settle(peer.instance, token, result)


def _find_fault(message: Ack, bodies: Sequence[bytes]) -> str:
    """Say why these outputs cannot be stored, "" when they can."""
    if len(message.outputs) > MAX_OUTPUTS:
        return f"{len(message.outputs)} outputs; more than {MAX_OUTPUTS} are a range"
    for placed in message.outputs:
        fault = find_item_fault(placed.item)
        if fault:
            return fault
        frames = [placed.content] if placed.recipients is None else [placed.content, placed.recipients]
        if not all(-1 <= frame < len(bodies) for frame in frames):
            return "an output names a frame that is not there"
        if (placed.recipients is None) != (placed.item.part is None):
            return "a part and its recipients go together"
    if len({placed.item.id for placed in message.outputs}) != len(message.outputs):
        return "two outputs with one id"
    return ""


def _works(operation: Settle) -> dict[ItemId, Work]:
    """Return what the leases of those outputs need that use no body of the settled item."""
    bodies = operation.bodies
    return {
        placed.item.id: Work(
            item=placed.item,
            content=bodies[placed.content],
            recipients=None if placed.recipients is None else bodies[placed.recipients],
            notes=(),
        )
        for placed in operation.outputs
        if placed.content >= 0 and placed.recipients != -1
    }


def _nothing(_: object) -> None:
    """A blame is written down; nobody waits for that."""
