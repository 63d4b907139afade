"""The bus: two ZeroMQ sockets, the state of the queues, and the journal behind them. A synchronous loop in the main thread.

In each turn: what runners and master say (so that acks get through while mail pours in), what front-ends say, what the journal
reports, confirmations, leases; then everything that gathered goes to the journal's thread (committer.py) as one batch.
ZeroMQ is trusted for nothing but moving octets: docs/bus.md says how every loss is made good. Files and sockets are this user's alone.
"""

import gc
import os
import select
import signal
import sys
import time
from collections.abc import Container, Sequence
from math import ceil
from pathlib import Path

import zmq

from bus.books import imbalance
from bus.committer import Committer
from bus.hub import Hub, make_clock
from bus.intake import MAX_PENDING
from bus.journal import open_journal
from bus.journal.api import Busy, Counters, Trim, Unusable
from bus.lending import Lending
from bus.memory import available_octets, find_groups
from bus.requests import PUB, WORK, Requests
from bus.sockets import bind, receive
from bus.writer import EX_SOFTWARE, Log
from config.child import BEAT_S, Child, argument_parser, start_child
from config.logs import log_uncaught, set_up
from config.names import EX_CONFIG, Queue

WORK_PER_TURN = 256  # messages of runners read in one turn, and
PUB_PER_TURN = 64  # of front-ends after them
TICK_S = 0.01  # timers are looked at so often at most
TURN_S = 0.25  # a turn comes at least so often: what is due is at most this late
TRIM_S = 2.0  # at most 500 of each kind at a time: more than 20 million a day
TRIM_SHORT_S = 0.25  # while the disk is short: 2 MiB at a time go back to it
BOOKS_S = 60.0
SWITCH_S = 0.0005  # the committer back from its sync waits at most so long for the interpreter; the default is 5 ms a commit
GC_THRESHOLD = (20_000, 20, 100)  # nothing here makes cycles in numbers
ORPHAN_S = 20.0  # front-ends finish within 15 s, runners within stop_grace_s
STUCK_S = 5.0  # a journal that takes longer than this for one batch takes no new mail


class Broker:
    """The main loop and its timers."""

    def __init__(self, child: Child, hub: Hub, sockets: dict[bytes, zmq.Socket[bytes]]) -> None:
        self._child = child
        self._hub = hub
        self._sockets = sockets
        self._requests = Requests(hub, child.instance)
        self._lending = Lending(hub)
        self._groups = find_groups()
        self._is_stopping = False
        self._orphan_until = 0.0  # monotonic; 0: master lives, or there never was one
        self._is_tick_owed = False  # something happened since timers were looked at
        self._next: dict[str, float] = {
            "tick": 0.0,
            "second": 0.0,
            "beat": 0.0,
            "trim": TRIM_S,
            "books": BOOKS_S,
        }

    def stop(self, *_: object) -> None:
        """End after this turn; a signal handler."""
        self._is_stopping = True
        self._hub.committer.wake()

    def run(self) -> None:
        """Turn until told to stop or master is gone."""
        poller = zmq.Poller()
        for socket in self._sockets.values():
            poller.register(socket, zmq.POLLIN)
        poller.register(self._hub.committer.wake_fd, zmq.POLLIN)
        if self._child.life_fd >= 0:
            poller.register(self._child.life_fd, zmq.POLLIN)
        while not self._is_over():
            events = dict(poller.poll(self._pause_ms()))
            if self._child.life_fd in events:
                poller.unregister(self._child.life_fd)
                self._is_stopping = True
            self._turn(events)
        self._end()

    def _is_over(self) -> bool:
        """Whether to end now. Master stops the bus last; without a master the others finish what is in hand first, as it would have it."""
        if not self._is_stopping:
            return False
        now = time.monotonic()
        if not self._orphan_until:
            fds = [fd for fd in (self._child.life_fd,) if fd >= 0]
            if not fds or not select.select(fds, [], [], 0)[0]:
                return True
            self._orphan_until = now + ORPHAN_S
        return now >= self._orphan_until or not self._hub.peers.at_work(now, self._hub.dispatch.workers)

    def _turn(self, events: Container[object]) -> None:
        """Do all there is to do now; `events` has what is readable. What is left makes the next poll return at once."""
        hub = self._hub
        for name, limit in ((WORK, WORK_PER_TURN), (PUB, PUB_PER_TURN)):
            if self._sockets[name] in events:
                self._drain(name, limit)
        hub.committer.collect()
        self._tick()
        hub.committer.commit()
        hub.post.flush()
        if not self._is_stopping:
            self._lending.hand_out()
        hub.committer.hand_over()

    def _drain(self, name: bytes, limit: int) -> None:
        socket = self._sockets[name]
        for _ in range(limit):
            frames = receive(socket)
            if frames is None:
                return
            self._requests.take(frames, name)

    def _end(self) -> None:
        """Take nothing more; make durable and confirm what was taken."""
        self._hub.log.info("process.stopping")
        self._hub.committer.stop()
        self._hub.post.flush()
        for socket in self._sockets.values():
            socket.close(linger=500)  # milliseconds: the last confirmations may still leave

    # Timers ------------------------------------------------------------------------------------------------------------

    def _pause_ms(self) -> int:
        due_ms = self._hub.dispatch.next_ms()
        pause_ms = int((TICK_S if self._is_tick_owed else TURN_S) * 1000)
        if self._lending.pause_s is not None:
            pause_ms = min(pause_ms, ceil(self._lending.pause_s * 1000))
        if due_ms is None:
            return pause_ms
        return max(0, min(pause_ms, due_ms - self._hub.clock.time_ms()))

    def _tick(self) -> None:
        hub, now = self._hub, time.monotonic()
        self._is_tick_owed = now < self._next["tick"]
        if self._is_tick_owed:
            return
        self._next["tick"] = now + TICK_S
        hub.dispatch.tick(hub.clock.time_ms())
        hub.flow.look_at_queues(hub.dispatch.queues.values())
        hub.flow.look_at_load(max(hub.committer.octets / MAX_PENDING, hub.committer.busy_s / STUCK_S))
        self._decide_flow()
        if hub.committer.is_out_of_room and hub.flow.flow.reason != "disk":
            hub.committer.ask(lambda journal: journal.free_octets(), self._note_room)
        if now >= self._next["second"]:
            self._next["second"] = now + 1.0
            self._requests.attendance.check_silence(now)
            hub.flow.look_at_memory(available_octets(self._groups))
            hub.committer.ask(lambda journal: journal.free_octets(), self._note_room)
        if now >= self._next["beat"]:
            self._next["beat"] = now + BEAT_S
            self._child.beat()
        if now >= self._next["trim"]:
            self._next["trim"] = now + (TRIM_SHORT_S if hub.flow.flow.reason == "disk" else TRIM_S)
            hub.committer.submit(Trim(shrink=hub.flow.flow.reason == "disk"), _nothing)
        if now >= self._next["books"]:
            self._next["books"] = now + BOOKS_S
            hub.committer.ask(lambda journal: journal.counters(), self._check_books)

    def _note_room(self, room: tuple[int, int]) -> None:
        hub = self._hub
        was_stopped = hub.flow.flow.reason == "disk"
        hub.flow.look_at_disk(*room, is_failing=hub.committer.is_out_of_room)
        self._decide_flow()
        if was_stopped and hub.flow.flow.reason != "disk":
            hub.log.warning("journal.resumed", free=room[0])
            hub.committer.ask(lambda journal: journal.restore_ballast(), _nothing)

    def _decide_flow(self) -> None:
        hub = self._hub
        fronts = len(hub.peers.of_role("front"))
        if hub.flow.decide(is_journal_stuck=hub.committer.busy_s > STUCK_S, fronts=fronts):
            hub.tell_flow()

    def _check_books(self, counters: dict[Queue, Counters]) -> None:
        for queue in self._hub.queues():
            items = sum(self._hub.dispatch.order_of(queue).gauges().values())
            missing = imbalance(counters.get(queue, Counters()), items)
            if missing:
                self._hub.log.error("books.wrong", queue=queue, missing=missing, items=items)


def _nothing(_: object) -> None:
    """Nobody waits for the result."""


def serve(child: Child, log: Log) -> int:
    """Own the journal, then the sockets, then do the work until told to end; returns the exit status."""
    settings = child.settings
    journal = open_journal(settings.bus.journal, settings.bus)
    epoch = journal.open()  # first of all: a second bus must not even touch the sockets of the first
    committer = Committer(journal, make_clock(settings), log)
    recovered = committer.recover()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    run = Path(settings.site.run)
    sockets = {WORK: bind(context, run / "work.sock"), PUB: bind(context, run / "pub.sock")}
    hub = Hub(settings, epoch, committer, sockets, log)
    hub.dispatch.paused.update(recovered.paused)
    count = hub.dispatch.recover(recovered.rows, hub.clock.time_ms())
    log.info("bus.recovered", epoch=epoch, items=count, shunted=len(recovered.rows) - count)
    broker = Broker(child, hub, sockets)
    gc.freeze()  # what was recovered stays; looking through it again and again would cost pauses
    gc.set_threshold(*GC_THRESHOLD)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, broker.stop)
    child.ready()
    log.info("process.ready", pid=os.getpid())
    broker.run()
    context.term()
    log.info("process.stopped")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the bus; 1: another bus owns this journal; 78: the journal cannot be used as configured."""
    sys.setswitchinterval(SWITCH_S)
    child = start_child(
        argument_parser("The bus of a Postroom site: queues and their journal."), argv, waits_for_disk=True
    )
    log: Log = set_up(child.settings, child.name).bind()  # bound once, or every line pays for it
    log.info("process.started", pid=os.getpid(), journal=child.settings.bus.journal)
    try:
        return serve(child, log)
    except (Busy, Unusable) as error:
        log.error("process.failed", error=str(error))
        print(f"postroom bus: {error}", file=sys.stderr)
        return 1 if isinstance(error, Busy) else EX_CONFIG
    except Exception as error:
        log_uncaught(log, error)
        return EX_SOFTWARE


if __name__ == "__main__":
    sys.exit(main())
