"""Hands out leases: dispatch says who gets what, the journal's thread reads it, the runner gets it.

A lease whose message could not be sent has reached nobody, so it ends at once; its runner gets nothing more until it says hello.
"""

from collections.abc import Sequence
from functools import partial

from bus.hub import Hub
from bus.journal.api import Corrupt, Shunt, Work
from bus.leases import Grant, Lease
from bus.messages import Job, LeaseToken
from config.failpoints import fail


class Lending:
    """Brings items to runners."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def hand_out(self) -> None:
        """Lease whatever can be leased now; what has just been made durable is still here, the rest is read."""
        grants = self._hub.dispatch.grant(stopped=self._hub.flow.stopped)
        if not grants:
            return
        to_read = []
        for grant in grants:
            work = self._hub.fresh.take(grant.row)
            if work is None:
                to_read.append(grant)
            else:
                self._fetched([grant], [work])
        if to_read:
            self._hub.committer.fetch([grant.row for grant in to_read], partial(self._fetched, to_read))

    def _fetched(self, grants: Sequence[Grant], found: Sequence[Work | Corrupt]) -> None:
        for grant, work in zip(grants, found, strict=True):
            lease = self._hub.dispatch.lease(grant.instance, grant.number)
            if not isinstance(lease, Lease):  # its runner has gone meanwhile
                continue
            if isinstance(work, Corrupt):
                entry = self._hub.dispatch.settle(lease)
                self._hub.shunt(entry, Shunt(row=grant.row, reason="corrupt-body", detail=str(work)))
            elif not self._hub.dispatch.may_have(grant.instance):  # it leaves
                self._hub.dispatch.give_back(lease)
            elif not self._send(lease, work):
                self._hub.dispatch.give_back(lease)
                self._hub.dispatch.hush(grant.instance)
                peer = self._hub.peers.by_instance.get(grant.instance)
                if peer is not None:
                    peer.is_silent = True

    def _send(self, lease: Lease, work: Work) -> bool:
        row = lease.entry.row
        job = Job(
            lease=LeaseToken(self._hub.epoch, lease.number),
            item=work.item,
            attempt=row.attempts + 1,
            crashes=row.crashes,
            notes=work.notes,
            first=lease.is_first,
        )
        bodies = [work.content] if work.recipients is None else [work.content, work.recipients]
        fail("bus.job.before")
        is_sent = self._hub.post.send(lease.instance, job, bodies)
        fail("bus.job.after")
        if is_sent:
            self._hub.log.debug("item.leased", item_id=row.id, queue=row.queue, instance=lease.instance)
        return is_sent
