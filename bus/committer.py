"""The main thread's hold on the thread that owns the journal (writer.py).

What is gathered in a turn of the main loop is committed by the main thread itself while that is one short write (`commit`), or handed over at the
turn's end, with what is to be done with each result; the main thread does that when it collects. The journal has one user at a time: this
thread works on it only while the other has nothing to do. `wake_fd` becomes readable when there is something to collect.
"""

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from msgspec import Struct

from bus.journal.api import Broken, Journal, Op, Row
from bus.writer import Fetch, Inbox, Log, Piece, Question, Report, Task, Then, Writer, octets_of
from config.clock import Clock
from config.names import Queue

JUST_NOW_S = 2.0
# The main thread commits by itself while a commit is a short write: two hops between threads cost as much as the write. One that takes
# longer stops that for a while, so that a slow disk does not keep the loop from its beats.
SHORT_S = 0.05
SLOW_FOR_S = 10.0
SHORT_OCTETS = 2**20  # of bodies that wait; a larger one is a file of its own, whose sync takes long


class Recovered(Struct, frozen=True):
    """What an earlier life of the bus left."""

    rows: list[Row]
    paused: frozenset[Queue]


class Committer:
    """Hands work to the thread and collects its reports; all methods are the main thread's."""

    def __init__(self, journal: Journal, clock: Clock, log: Log) -> None:
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.octets = 0  # of bodies handed over and not reported
        self._inbox: Inbox = SimpleQueue()
        self._reports: deque[Report] = deque()
        self._gathered: list[Piece] = []
        self._writer = Writer(journal, clock, log, self._inbox, self._report)
        self._handed = 0  # lists put into the inbox
        self._not_here_before = 0.0  # monotonic
        self._journal = journal
        self._thread = threading.Thread(target=self._writer.run, name="committer", daemon=True)

    def recover(self) -> Recovered:
        """Start the thread, and wait until it has read what the journal holds."""
        threading.excepthook = self._writer.die
        self._thread.start()
        found: list[Recovered] = []
        self.ask(lambda journal: Recovered(list(journal.recover()), journal.paused()), found.append)
        self.hand_over()
        while not found:
            select.select([self.wake_fd], [], [])
            self.collect()
        return found[0]

    def submit(self, op: Op, then: Then) -> None:
        """Have this made durable with the next batch."""
        octets = octets_of(op)
        self.octets += octets
        self._gathered.append(Task(op, then, octets))

    def fetch(self, rows: Sequence[int], then: Then) -> None:
        """Have these items read."""
        self._gathered.append(Fetch(tuple(rows), then))

    def ask(self, question: Callable[[Journal], Any], then: Then) -> None:
        """Have something looked up in the journal."""
        self._gathered.append(Question(question, then))

    def commit(self) -> None:
        """Make durable here and now what has been gathered, if that is short work, and do what is to be done with the results."""
        tasks = [piece for piece in self._gathered if isinstance(piece, Task)]
        if not tasks or not self._may_commit_here():
            return
        self._gathered = [piece for piece in self._gathered if not isinstance(piece, Task)]
        started = time.monotonic()
        try:
            self._writer.write(tasks)
        except Broken as error:
            self._writer.end(error)
        now = time.monotonic()
        if now - started > SHORT_S:
            self._not_here_before = now + SLOW_FOR_S
        self._do_reports()
        if self._journal.is_behind or self._writer.kept:
            self._put([])  # the thread's work

    def _may_commit_here(self) -> bool:
        """Whether the thread is idle, all it said is heard, and the disk is quick; reading and asking are its work in any case."""
        return (
            self._writer.done == self._handed
            and not self._writer.kept
            and not self._reports
            and self.octets <= SHORT_OCTETS
            and time.monotonic() >= self._not_here_before
        )

    def hand_over(self) -> None:
        """Give the thread what has been gathered in this turn."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._put(gathered)

    def _put(self, pieces: list[Piece]) -> None:
        self._handed += 1
        self._inbox.put(pieces)

    def collect(self) -> None:
        """Do what is to be done with the results that are there."""
        try:
            os.eventfd_read(self.wake_fd)
        except BlockingIOError:
            return
        self._do_reports()

    def _do_reports(self) -> None:
        while self._reports:
            report = self._reports.popleft()
            self.octets -= report.octets
            report.then(report.result)

    def wake(self) -> None:
        """Make `wake_fd` readable; may be called by a signal handler."""
        os.eventfd_write(self.wake_fd, 1)

    @property
    def busy_s(self) -> float:
        """For how long the thread has been at what it does now."""
        since = self._writer.busy_since
        return time.monotonic() - since if since else 0.0

    @property
    def is_out_of_room(self) -> bool:
        """Whether something did not fit on the disk, just now or still."""
        return bool(self._writer.kept) or time.monotonic() - self._writer.full_at < JUST_NOW_S

    def stop(self) -> None:
        """Have everything made durable that was handed over and the journal closed, and do what is to be done with the results."""
        self.hand_over()
        self._inbox.put(None)
        self._thread.join()
        self.collect()
        os.close(self.wake_fd)

    def _report(self, reports: Sequence[Report]) -> None:
        self._reports.extend(reports)
        if threading.get_ident() == self._thread.ident:
            os.eventfd_write(self.wake_fd, 1)
