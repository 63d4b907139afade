"""Who is there: hello, beats, silence, goodbye, and what master says of the living and the dead.

Silence alone frees no lease: master is told, ends the process and says Gone (DESIGN P8). What cannot be reached is silent too.
"""

import time
from collections.abc import Sequence
from functools import partial

from bus.hub import Hub
from bus.journal.api import Shunt
from bus.messages import Beat, Bye, Gone, Hello, LeaseToken, Living, Lost, Problem, Welcome
from bus.peers import Peer
from config.names import Instance, ItemId

MAX_RUN = 256  # items of one list that a runner may have at once


class Attendance:
    """Lets processes in and out."""

    def __init__(self, hub: Hub, own: Instance) -> None:
        self._hub = hub
        self._own = own

    def hello(self, identity: bytes, message: Hello) -> None:
        """Let a process in; a runner is told which of its claims are its own."""
        hub = self._hub
        if hub.peers.is_gone(message.instance):
            hub.post.answer(identity, Problem("gone", "master says that this process has ended"))
            return
        known = hub.peers.by_instance.get(message.instance)
        peer = Peer(
            identity=identity,
            role=message.role,
            name=message.name,
            instance=message.instance,
            pid=message.pid,
            heard=time.monotonic(),
        )
        hub.peers.add(peer)
        adopted: dict[ItemId, int] = {}
        if message.role == "runner":
            slots = min(max(message.slots, 0), 1024)
            adopted = hub.dispatch.hello(
                message.instance,
                message.queue,
                slots,
                message.claims,
                run=min(max(message.run, 1), MAX_RUN),
                is_known_connection=known is not None and known.identity == identity,
            )
        else:
            hub.dispatch.arrived(message.instance)
        if known is None and message.role != "admin":
            hub.log.info(
                "bus.connected", client=peer.name, role=peer.role, pid=peer.pid, claims=len(message.claims)
            )
        tokens = {item_id: LeaseToken(hub.epoch, number) for item_id, number in adopted.items()}
        hub.post.answer(identity, Welcome(epoch=hub.epoch, flow=hub.flow.flow, adopted=tokens))

    def hear_again(self, peer: Peer) -> None:
        """A process that had fallen silent speaks: it says what it still has in hand before it gets more."""
        peer.is_silent = peer.is_lost = False
        self._hub.post.answer(peer.identity, Problem("hello", "you were not heard of; say hello again"))

    def beat(self, peer: Peer, message: Beat, _: Sequence[bytes]) -> None:
        """Answer a sign of life with one."""
        self._hub.post.answer(peer.identity, message)

    def bye(self, peer: Peer, _: Bye, __: Sequence[bytes]) -> None:
        """Lease nothing more to a process that leaves; a runner still settles what it has in hand."""
        peer.is_leaving = True
        if peer.role == "runner":
            self._hub.dispatch.hush(peer.instance)
        else:
            self._hub.peers.remove(peer.instance)

    def gone(self, peer: Peer, message: Gone, _: Sequence[bytes]) -> None:
        """Free what dead processes had in hand."""
        for instance in message.instances:
            self._hub.peers.bury(instance)
            self._revoke(instance, crashed=message.crashed)

    def living(self, peer: Peer, message: Living, _: Sequence[bytes]) -> None:
        """Hear which processes live, so that this life of the bus waits for nobody else."""
        self._hub.dispatch.living(set(message.instances) - {self._own})

    def check_silence(self, now: float) -> None:
        """Tell master again and again whom nobody has heard of for three beats."""
        silent = self._hub.peers.find_silent(now, self._hub.dispatch.workers)
        for peer in silent:
            if not peer.is_lost:
                peer.is_silent = peer.is_lost = True
                self._hub.dispatch.hush(peer.instance)
                self._hub.log.warning("bus.lost", client=peer.name, role=peer.role, pid=peer.pid)
        if silent:
            lost = Lost(tuple(peer.instance for peer in silent))
            self._hub.post.tell(self._hub.peers.of_role("master"), lost)

    def _revoke(self, instance: Instance, *, crashed: bool) -> None:
        hub = self._hub
        for entry, operation in hub.dispatch.gone(instance, crashed=crashed):
            if isinstance(operation, Shunt):
                hub.shunt(entry, operation)
            else:
                hub.log.warning(
                    "lease.revoked",
                    item_id=entry.row.id,
                    queue=entry.row.queue,
                    crashes=operation.crashes,
                    instance=instance,
                )
                hub.committer.submit(operation, partial(_nothing))


def _nothing(_: object) -> None:
    """A blame is written down; nobody waits for that."""
