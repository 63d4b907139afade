"""The way out: finished mail to the site's MTA over SMTP, or into maildirs. One item is a message and a slice of its recipients.

Each SMTP transaction is noted in the journal before (begun) and after (done, with the reply to each recipient), so that a recipient can
get a second copy only if this process or its connection died between the MTA's 250 and our note, and the journal names who.
What a reply means is results.py's, what is still to be sent slices.py's, connections are mta.py's, the protocol smtp.py's.

Strategy, harm, proof (tests/processes/test_runner_outgoing.py):
- no begun on disk, nothing sent: a doubled recipient is always a named one;
- a begun whose transaction never came to its data is closed with code 421: it names nobody falsely, and is made again;
- results that could not be noted are remembered: the same item leased to this process again is noted, not sent again;
- with VERP each recipient has a transaction of its own and 25 share a note; where one breaks off, those before it are noted as done, whoever is
  in doubt as begun, and nobody else is named;
- an MTA that is away is a Retry without blame; one that takes a message and never says so is asked MAX_LOST times, then a person is.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path

import msgspec
from msgspec import Struct

from bus.messages import Item, Note
from config.failpoints import fail
from config.names import OUTGOING, ItemId, Queue
from lists.secret import load_site_key
from lists.tokens import SiteKey
from runners.maildir import Maildirs
from runners.mta import Mta
from runners.outcome import Ack, Outcome, Output, Retry, Shunt
from runners.reports import Failure, write_report
from runners.results import outcome_of, wait_for_mta
from runners.runner import Lent, Runner
from runners.site import Site
from runners.slices import (
    NOT_SENT,
    VERP_TOGETHER,
    Transaction,
    is_range,
    remaining_transactions,
    was_not_sent,
)
from runners.smtp import Away, Batch, Connection, Reply, ReplyLost, WireMessage, even_line_ends, wire_message
from runners.verp import reverse_paths

MAX_LOST = 3  # times that the reply to an item's final dot may get lost: each may be one more copy
MAX_REMEMBERED = 100  # transactions whose results are not known to be durable
MAX_REPLY = 120  # characters of a reply in the log
IN_THREAD = 256 * 1024  # octets of a message from which preparing it takes too long for the loop

_LOST = Retry("the item is somebody else's now", away=True)


class Outgoing(Runner):
    """The queue outgoing."""

    slots = 8
    stops_anywhere = False  # a transaction on its way is waited for; between two of them `lost` is looked at

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._outgoing = site.settings.outgoing
        self._maildirs = Maildirs(Path(self._outgoing.maildir)) if self._outgoing.maildir else None
        self._mta = Mta(site.settings)
        self._remembered: OrderedDict[tuple[ItemId, int], Note] = OrderedDict()
        self._busy: dict[ItemId, asyncio.Event] = {}
        self._key: SiteKey | None = None

    def max_runtime_s(self, queue: Queue) -> float:
        """Allow what the time-outs of a slow MTA allow: each transaction of a slice has its own."""
        longest = 3 * self._outgoing.timeout_s + self._outgoing.data_timeout_s
        return max(super().max_runtime_s(queue), 5 * longest)

    async def open(self) -> None:
        """Read the key that signs VERP tokens."""
        self._key = await asyncio.to_thread(load_site_key, self.site.settings)

    async def close(self) -> None:
        """Leave the MTA."""
        await self._mta.close()

    async def work(self, lease: Lent) -> Outcome:
        """Cut a range, or send a slice."""
        item = lease.item
        if is_range(item):
            return Ack(
                outputs=[Output(OUTGOING, reverse_path=item.reverse_path, part=item.part)], reason="cut"
            )
        recipients = item.recipients or (item.recipient,)
        if self._maildirs is not None:
            return await self._deliver(self._maildirs, item, recipients, lease.content)
        while item.id in self._busy:  # a lost lease of it still waits for its MTA, whose reply is wanted
            await self._busy[item.id].wait()
        ended = self._busy[item.id] = asyncio.Event()
        try:
            return await self._send(lease, recipients)
        finally:
            del self._busy[item.id]
            ended.set()

    async def _deliver(
        self, maildirs: Maildirs, item: Item, recipients: Sequence[str], content: bytes
    ) -> Outcome:
        """Write a copy into each recipient's maildir; what is there already is done."""

        def write() -> int:
            even = even_line_ends(content)
            return sum(maildirs.deliver(item, recipient, even) for recipient in recipients)

        try:
            written = await asyncio.to_thread(write)
        except OSError as error:  # a full disk, a folder that is gone: no fault of the mail
            self.site.log.warning("outgoing.away", error=str(error))
            return Retry(f"away: maildir: {error.strerror}", away=True)
        self.site.log.info(
            "outgoing.delivered", recipients=list(recipients), written=written, message_id=item.message_id
        )
        return Ack(reason=f"sent {len(recipients)}, later 0, failed 0")

    async def _send(self, lease: Lent, recipients: Sequence[str]) -> Outcome:
        """Make the transactions that are still to be made, and say what follows from all replies."""
        part = lease.item.part or (0, 1)
        notes = {note.number: note for note in lease.notes}
        if not await self._note_remembered(lease, notes):
            return _LOST
        verp = bool(lease.item.memberships)
        together = self._outgoing.recipients_per_transaction
        todo = remaining_transactions(
            part, tuple(notes.values()), min(together, VERP_TOGETHER) if verp else together
        )
        if verp:  # the one whose reply gets lost again and again must not keep the others from theirs
            todo = tuple(sorted(todo, key=lambda transaction: transaction.again))
        path_of = reverse_paths(lease.item, self._key, self.site.settings.site.delimiter)
        spare = max((*notes, *(transaction.number for transaction in todo)), default=-1) + 1
        message = await self._prepare(lease.content)
        last: Note | None = None
        for transaction in todo:
            if last is not None and not await self._note(lease, last):
                return _LOST
            first, end = (place - part[0] for place in transaction.part)
            paths = tuple(map(path_of, range(first, end))) if verp else ()
            envelope = Envelope(transaction, tuple(recipients[first:end]), paths, spare)
            made = await self._transact(lease, envelope, message)
            if not isinstance(made, Note):
                return made
            last = notes[made.number] = made
        return msgspec.structs.replace(self._conclude(lease, part, recipients, notes), note=last)

    async def _transact(self, lease: Lent, envelope: "Envelope", message: WireMessage) -> Note | Outcome:
        """Make what one note is about and return its done, which is not on disk yet; else what becomes of the item."""
        transaction, names = envelope.transaction, envelope.names
        begun = Note(number=transaction.number, part=transaction.part, instance=self.site.instance)
        is_begun = False
        try:
            async with self._mta.connection() as connection:
                fail("outgoing.begun.before")
                if lease.lost or not await lease.progress(begun):
                    return _LOST
                is_begun = True
                fail("outgoing.begun.after")
                if transaction.again:
                    self._log_doubt(lease, names, "outgoing.repeated")
                batch = await self._mta.run(partial(envelope.send, connection, lease.item, message))
        except Away as error:
            if is_begun:
                await lease.progress(_done(begun, [(NOT_SENT, "not sent")] * len(names)))
            wait_s = wait_for_mta(lease.item.accepted_at, self.site.clock.now())
            return Retry(f"away: {error}", delay_s=wait_s, away=True)
        except ReplyLost as error:
            self._log_doubt(lease, names, "outgoing.unanswered", error=str(error))
            return _after_lost_reply(lease, names, error)
        fail("outgoing.data.after")
        if batch.broken is not None:
            return await self._break_off(lease, envelope, begun, batch)
        done = _done(begun, batch.replies)
        self._remember(lease.item, done)
        self._log_sent(lease, transaction, names, batch.replies)
        return done

    async def _break_off(self, lease: Lent, envelope: "Envelope", begun: Note, batch: Batch) -> Outcome:
        """Write down how far the transactions of one note came: who is in doubt first, since the note names them until then."""
        sent, first, broken = len(batch.replies), begun.part[0], batch.broken
        doubtful = envelope.names[sent : sent + 1]
        done = _done(begun, [(NOT_SENT, "not sent")] * len(envelope.names))
        if sent:
            done = msgspec.structs.replace(begun, part=(first, first + sent), results=batch.replies)
            self._log_sent(lease, envelope.transaction, envelope.names[:sent], batch.replies)
        if isinstance(broken, ReplyLost):
            self._log_doubt(lease, doubtful, "outgoing.unanswered", error=str(broken))
            part = (first + sent, first + sent + 1)
            if not await lease.progress(Note(number=envelope.spare, part=part, instance=self.site.instance)):
                return _LOST
        elif sent:
            self._remember(lease.item, done)
        if not await self._note(lease, done):
            return _LOST
        if isinstance(broken, ReplyLost):
            return _after_lost_reply(lease, doubtful, broken)
        wait_s = wait_for_mta(lease.item.accepted_at, self.site.clock.now())
        return Retry(f"away: {broken}", delay_s=wait_s, away=True)

    # Notes ------------------------------------------------------------------------------------------------------------

    async def _note(self, lease: Lent, done: Note) -> bool:
        """Write a done down; False: the item is not ours any more, and the result stays remembered."""
        if not await lease.progress(done):
            return False
        fail("outgoing.done.after")
        self._remembered.pop((lease.item.id, done.number), None)
        return True

    def _remember(self, item: Item, done: Note) -> None:
        self._remembered[item.id, done.number] = done
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    async def _note_remembered(self, lease: Lent, notes: dict[int, Note]) -> bool:
        """Close what this process began under an earlier lease and knows the end of; False: not ours any more."""
        for number, note in notes.items():
            done = self._remembered.get((lease.item.id, number))
            if note.results is None and done is not None and done.part[0] == note.part[0]:
                notes[number] = done
                if not await self._note(lease, done):
                    return False
        return True

    # The end ----------------------------------------------------------------------------------------------------------

    def _conclude(
        self, lease: Lent, part: tuple[int, int], recipients: Sequence[str], notes: dict[int, Note]
    ) -> Ack:
        """Say what follows from the reply to every recipient, of this lease and of earlier ones."""
        item, now = lease.item, self.site.clock.now()
        replies: dict[int, Reply] = {}
        for note in notes.values():
            if note.results is not None and not was_not_sent(note):
                replies.update(zip(range(*note.part), note.results, strict=True))

        def write(failures: Sequence[Failure]) -> bytes:
            site, mta = self.site.settings.site.name, self._outgoing.smtp
            return write_report(item, lease.content, failures, site=site, mta=mta, now=now)

        return outcome_of(
            item,
            recipients,
            [replies[index] for index in range(*part)],
            path_of=reverse_paths(item, self._key, self.site.settings.site.delimiter),
            now=now,
            deliver_for=timedelta(seconds=self._outgoing.deliver_for_s),
            write=write,
        )

    async def _prepare(self, content: bytes) -> WireMessage:
        if len(content) < IN_THREAD:
            return wire_message(content)
        return await asyncio.to_thread(wire_message, content)

    # Logs -------------------------------------------------------------------------------------------------------------

    def _log_sent(
        self, lease: Lent, transaction: Transaction, names: Sequence[str], replies: Sequence[Reply]
    ) -> None:
        """Write one line with the reply to each recipient, those of one reply together."""
        by_reply: dict[str, list[str]] = {}
        for name, (code, text) in zip(names, replies, strict=True):
            by_reply.setdefault(f"{code} {text}"[:MAX_REPLY], []).append(name)
        self.site.log.info(
            "outgoing.sent",
            number=transaction.number,
            reverse_path=lease.item.reverse_path,
            message_id=lease.item.message_id,
            replies=by_reply,
        )

    def _log_doubt(self, lease: Lent, names: Sequence[str], event: str, **more: str) -> None:
        """Name those who may get a second copy."""
        self.site.log.warning(event, recipients=list(names), message_id=lease.item.message_id, **more)


class Envelope(Struct, frozen=True):
    """What one note is about: a transaction, or with VERP one for each of its recipients."""

    transaction: Transaction
    names: tuple[str, ...]
    paths: tuple[str, ...]  # with VERP, the reverse-path of each
    spare: int  # a number that no other note of the item has

    def send(self, connection: Connection, item: Item, message: WireMessage) -> Batch:
        """Say it to the MTA; raises Away and ReplyLost where it is one transaction."""
        if self.paths:
            return connection.transact_each(tuple(zip(self.paths, self.names, strict=True)), message)
        return Batch(connection.transact(item.reverse_path, self.names, message))


def _done(begun: Note, replies: Sequence[Reply]) -> Note:
    return msgspec.structs.replace(begun, results=tuple(replies))


def _after_lost_reply(lease: Lent, names: Sequence[str], error: ReplyLost) -> Outcome:
    """Try again, which may double; not for ever, since a message that the MTA chokes on would come out again and again."""
    if lease.attempt < MAX_LOST:
        return Retry(f"no reply to the final dot: {error}")
    detail = f"no reply to the final dot, {lease.attempt} times: {error}; may have it: {', '.join(names)}"
    return Shunt("reply-lost", detail)
