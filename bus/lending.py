"""Hands out leases: dispatch says who gets what, the journal's thread reads it, the runner gets it.

A run leaves as one message, in its order. A lease whose message could not be sent has reached nobody, so it ends at once; its runner gets nothing more
until it says hello.

To runners that take runs a queue's items are lent at most every GATHER_S, so that what comes meanwhile goes as one run; the first after a silence goes at once, and
where much waits runs are long anyway. A run costs everybody little more than an item.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter

from bus.hub import Hub
from bus.journal.api import Corrupt, Shunt, Work
from bus.leases import Grant, Lease
from bus.messages import Job, Jobs, LeaseToken
from config.failpoints import fail
from config.names import Instance, Queue

# Measured on two cores, 10 mails at a time, each on a connection of its own: 2,250 -> 2,420/s.
GATHER_S = 0.005
MUCH = 256  # items of a queue for which nobody waits for more

_TURN = attrgetter("turn")


class Lending:
    """Brings items to runners."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lent_at: dict[Queue, float] = {}  # monotonic, of queues whose runners take runs
        self.pause_s: float | None = None  # after which more can be leased

    def hand_out(self) -> None:
        """Lease whatever can be leased now; what has just been made durable is still here, the rest is read."""
        dispatch, now = self._hub.dispatch, time.monotonic()
        grants = dispatch.grant(stopped=self._hub.flow.stopped | self._gathering(now))
        if not grants:
            return
        for grant in grants:
            worker = dispatch.workers[grant.instance]
            if worker.run > 1:
                self._lent_at[worker.queue] = now
        to_read: list[Grant] = []
        for _, together in groupby(grants, _TURN):
            run = list(together)
            works = [work for grant in run if (work := self._hub.fresh.take(grant.row)) is not None]
            if len(works) < len(run):
                to_read += run
            else:
                self._lend(run, works)
        if to_read:
            self._hub.committer.fetch([grant.row for grant in to_read], partial(self._fetched, to_read))

    def _gathering(self, now: float) -> frozenset[Queue]:
        """Return the queues whose items wait for more to come, and note for how long."""
        self.pause_s = None
        found = set()
        for queue, lent_at in self._lent_at.items():
            left_s = lent_at + GATHER_S - now
            order = self._hub.dispatch.order_of(queue)
            if left_s > 0 and order.turns and len(order.live) < MUCH:
                found.add(queue)
                self.pause_s = min(left_s, self.pause_s or left_s)
        return frozenset(found)

    def _fetched(self, grants: Sequence[Grant], found: Sequence[Work | Corrupt]) -> None:
        works = iter(found)
        for _, together in groupby(grants, _TURN):
            run = list(together)
            self._lend(run, [next(works) for _ in run])

    def _lend(self, run: Sequence[Grant], found: Sequence[Work | Corrupt]) -> None:
        """Send one item, or one run of them, to whom it was granted."""
        hub, instance = self._hub, run[0].instance
        sound: list[tuple[Lease, Work]] = []
        for grant, work in zip(run, found, strict=True):
            lease = hub.dispatch.lease(instance, grant.number)
            if not isinstance(lease, Lease):  # its runner has gone meanwhile
                continue
            if isinstance(work, Corrupt):
                entry = hub.dispatch.settle(lease)
                hub.shunt(entry, Shunt(row=grant.row, reason="corrupt-body", detail=str(work)))
            else:
                sound.append((lease, work))
        if not sound:
            return
        may_have = hub.dispatch.may_have(instance)  # else it leaves
        if may_have and self._send(instance, sound):
            return
        for lease, _ in sound:
            hub.dispatch.give_back(lease)
        if may_have:
            hub.dispatch.hush(instance)
            peer = hub.peers.by_instance.get(instance)
            if peer is not None:
                peer.is_silent = True

    def _send(self, instance: Instance, run: Sequence[tuple[Lease, Work]]) -> bool:
        jobs = tuple(self._job(lease, work) for lease, work in run)
        fail("bus.job.before")
        message = jobs[0] if len(jobs) == 1 else Jobs(jobs)
        is_sent = self._hub.post.send(instance, message, list(_bodies(work for _, work in run)))
        fail("bus.job.after")
        if is_sent:
            for job in jobs:
                self._hub.log.debug(
                    "item.leased", item_id=job.item.id, queue=job.item.queue, instance=instance
                )
        return is_sent

    def _job(self, lease: Lease, work: Work) -> Job:
        return Job(
            lease=LeaseToken(self._hub.epoch, lease.number),
            item=work.item,
            attempt=lease.entry.row.attempts + 1,
            crashes=lease.entry.row.crashes,
            notes=work.notes,
            first=lease.is_first,
        )


def _bodies(works: Iterable[Work]) -> Iterator[bytes]:
    """Yield the frames of each in turn: the content, and the recipients of a part."""
    for work in works:
        yield work.content
        if work.recipients is not None:
            yield work.recipients
