"""The loop that owns the journal, in a thread of its own: gathers a batch, makes it durable in one transaction, reports.

While one commit runs, the next batch gathers by itself, so there is no timer (group commit). After it the journal tidies up, when results are told. What leases wait for is read first. Operations are applied in the
order in which they came, questions after them; they are reported in that order too, so that a question sees what is reported before it.

A full disk refuses new mail, gives up the ballast and keeps what must not be refused (settlements) until there is room. A
broken one, and any error that nobody expected, ends the process at once: only a new start can tell what is on the disk.
"""

import os
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import ExceptHookArgs
from typing import Any, NoReturn

import structlog
from msgspec import Struct

from bus.journal.api import Broken, Corrupt, Full, Journal, Op, Result, Settle, Store, Work
from bus.messages import Refused
from config.clock import Clock
from config.logs import log_uncaught

MAX_OPS = 512  # of one transaction
MAX_OCTETS = 16 * 2**20  # of one transaction; one larger operation goes alone
SMALL_BATCH = 8  # settlements tried at a time on a full disk
RETRY_S = 1.0  # between attempts to write what did not fit
SLOW_S = 1.0  # a commit longer than this is logged
EX_SOFTWARE = 70  # sysexits.h

Then = Callable[[Any], None]
Log = structlog.typing.FilteringBoundLogger


class Task(Struct, frozen=True, eq=False):
    """One operation, and what the main thread does with its result: Result, or Refused for a Store that had no room."""

    op: Op
    then: Then
    octets: int


class Question(Struct, frozen=True, eq=False):
    """Something to ask the journal between two batches."""

    ask: Callable[[Journal], Any]
    then: Then


class Fetch(Struct, frozen=True, eq=False):
    """Items to read for leases; the result is one Work or Corrupt a row."""

    rows: tuple[int, ...]
    then: Then


class Report(Struct, frozen=True, eq=False):
    """The result of one piece of work."""

    then: Then
    result: Any
    octets: int = 0


Piece = Task | Question | Fetch
Inbox = SimpleQueue[list[Piece] | None]


def octets_of(op: Op) -> int:
    """Return how many octets of bodies an operation carries."""
    if isinstance(op, Store):
        return len(op.content)
    return sum(map(len, op.bodies)) if isinstance(op, Settle) else 0


class Writer:
    """The thread's side. The public attributes are looked at by the main thread, never changed there."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        log: Log,
        inbox: Inbox,
        report: Callable[[Sequence[Report]], None],
    ) -> None:
        self.busy_since = 0.0  # monotonic; 0: idle
        self.full_at = float("-inf")  # monotonic
        self.kept: list[Task] = []  # what did not fit on the disk and must not be refused
        self.done = 0  # lists of the inbox that are dealt with
        self._taken = 0
        self._journal = journal
        self._clock = clock
        self._log = log
        self._inbox = inbox
        self._report = report
        self._is_over = False

    def run(self) -> None:
        """Work until told to end; the thread's target."""
        while not self._is_over or self.kept:
            pieces = self._gather()
            self.busy_since = time.monotonic()
            self._fetch(
                [piece for piece in pieces if isinstance(piece, Fetch)]
            )  # a runner waits, and it is quick
            self.write([piece for piece in pieces if isinstance(piece, Task)])
            self._answer([piece for piece in pieces if isinstance(piece, Question)])
            self._journal.tidy()
            self.busy_since = 0.0
            self.done = self._taken  # last of all: from now on the main thread may use the journal
            if self._is_over and self.kept:
                break  # no room at the very end: the clients will settle again under the next bus
        self._journal.close()

    def die(self, args: ExceptHookArgs) -> None:
        """End the process; the thread's excepthook."""
        self.end(args.exc_value)

    def end(self, error: BaseException | None) -> NoReturn:
        """End the process at once: what a transaction has done is not known any more."""
        if isinstance(error, Broken):
            self._log.error("journal.failed", error=str(error))
        elif error is not None:
            log_uncaught(self._log, error)
        os._exit(EX_SOFTWARE)

    def _gather(self) -> list[Piece]:
        """Wait for work, then take all that is there, up to the limits of one transaction."""
        pieces: list[Piece] = []
        try:
            handed = self._inbox.get(timeout=RETRY_S if self.kept else None)
        except Empty:
            return pieces
        octets = 0
        while handed is not None:
            self._taken += 1
            pieces += handed
            octets += sum(piece.octets for piece in handed if isinstance(piece, Task))
            if len(pieces) >= MAX_OPS or octets >= MAX_OCTETS:
                return pieces
            try:
                handed = self._inbox.get_nowait()
            except Empty:
                return pieces
        self._is_over = True
        return pieces

    # Writing -----------------------------------------------------------------------------------------------------------

    def write(self, tasks: list[Task]) -> None:
        """Make one batch durable and report it. The main thread may call this while the thread has nothing to do (`done`)."""
        if self.kept:
            self._write_what_fits(tasks)
        elif tasks:
            try:
                results = self._apply(tasks)
            except Full as error:
                self._log.error("journal.full", error=str(error))
                self.full_at = time.monotonic()
                self._write_what_fits(tasks)
            else:
                self._say(tasks, results)

    def _apply(self, tasks: Sequence[Task]) -> list[Result]:
        started = time.monotonic()
        results = self._journal.apply([task.op for task in tasks], self._clock.time_ms())
        took_s = time.monotonic() - started
        if took_s > SLOW_S:
            self._log.warning("journal.slow", duration_ms=int(took_s * 1000), operations=len(tasks))
        return results

    def _write_what_fits(self, tasks: Sequence[Task]) -> None:
        """Refuse new mail; try the rest in small batches, then one by one, since what is small may fit and make room."""
        self._report(
            [
                Report(task.then, Refused(task.op.items[0].id, "full", "no space"), task.octets)
                for task in tasks
                if isinstance(task.op, Store)
            ]
        )
        todo = self.kept + [task for task in tasks if not isinstance(task.op, Store)]
        self.kept = self._write_in_parts(todo)
        if self.kept:
            self._journal.give_up_ballast()  # not before: what is refused needs no room
            self.kept = self._write_in_parts(self.kept)

    def _write_in_parts(self, tasks: Sequence[Task]) -> list[Task]:
        """Write what fits; returns the rest. An operation waits for an earlier one on the same item."""
        rest: list[Task] = []
        waiting: set[int | None] = set()
        for start in range(0, len(tasks), SMALL_BATCH):
            batch = tasks[start : start + SMALL_BATCH]
            if waiting.isdisjoint(row_of(task.op) for task in batch) and self._try(batch):
                continue
            for task in batch:
                if row_of(task.op) in waiting or not self._try([task]):
                    rest.append(task)
                    waiting.add(row_of(task.op))
        return rest

    def _try(self, tasks: Sequence[Task]) -> bool:
        try:
            self._say(tasks, self._apply(tasks))
        except Full:
            return False
        return True

    def _say(self, tasks: Sequence[Task], results: Sequence[Result]) -> None:
        self._report(
            [Report(task.then, result, task.octets) for task, result in zip(tasks, results, strict=True)]
        )

    # Reading -----------------------------------------------------------------------------------------------------------

    def _answer(self, questions: Sequence[Question]) -> None:
        for question in questions:
            self._report([Report(question.then, question.ask(self._journal))])

    def _fetch(self, fetches: Sequence[Fetch]) -> None:
        """Read all items at once; a body that is not what was stored spoils its own item alone."""
        if not fetches:
            return
        wanted = [row for fetch in fetches for row in fetch.rows]
        found: dict[int, Work | Corrupt] = {}
        while len(found) < len(wanted):
            missing = [row for row in wanted if row not in found]
            try:
                found.update(zip(missing, self._journal.fetch(missing), strict=True))
            except Corrupt as error:
                found[error.row] = error
        self._report([Report(fetch.then, [found[row] for row in fetch.rows]) for fetch in fetches])


def row_of(op: Op) -> int | None:
    """Return the item that an operation is about, None for one that is about no single item."""
    return getattr(op, "row", None)
