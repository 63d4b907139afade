"""Where children come from: forked by the forker where there is one, else by exec, which takes half a second longer.

The forker (forker.py) is a help and never a need. One that ends, or does not answer in time, is replaced after a minute; what was
ordered from it, and all that is wanted meanwhile, is started by exec. A child that it forked without our hearing of it gets no GO
and ends, so nobody is there twice. Callbacks of one event loop, in master's main thread; nothing here blocks.
"""

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog
from msgspec import Struct

from master.children import Birth, Kit, Process
from master.forker import GO, MAX_ORDER, WARM, Born, Order, decode_born, encode_order
from master.link import Link
from master.plan import Place

COLD_S = 20.0  # for an answer of a forker that still imports; alone on a small machine it takes half a second
WARM_S = 1.0  # for one that has imported everything: some 5 ms. With the half second of an exec still within the 2 s of a replacement
AGAIN_S = 60.0  # before another is tried

Take = Callable[[Process | OSError], None]


class _Ordered(Struct, frozen=True, eq=False):
    """One child that was ordered and is not born."""

    birth: Birth
    go_fd: int  # write end
    take: Take


class Nursery:
    """Makes the processes of one site; entered on the running loop. `link` is a forker that was started early."""

    def __init__(self, kit: Kit, link: Link | None = None) -> None:
        self._kit = kit
        self._link = link
        self._log = structlog.get_logger()
        self._ordered: deque[_Ordered] = deque()  # answered in this order
        self._settled = asyncio.Event()  # this forker is warm, or there is none
        self._pidfd = -1
        self._late: asyncio.TimerHandle | None = None
        self._again: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int | None:
        """The forker's, None while there is none."""
        return self._link.popen.pid if self._link else None

    def __enter__(self) -> Self:
        if self._link is None:
            self._settled.set()
        else:
            self._attach(self._link)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._again:
            self._again.cancel()
        self._detach(is_ending=True)

    def spawn(self, place: Place, take: Take) -> None:
        """Start the program of a place; `take` gets the process, or the OSError that the system gave, now or when it is there."""
        try:
            birth = Birth(place, self._kit)
        except OSError as error:
            take(error)
            return
        if self._link is None or not self._order(self._link, birth, take):
            _execute(birth, take)

    async def renew(self) -> None:
        """Have a forker with the code that is on the disk now; returns when it is warm, or cannot be."""
        self._detach()
        self._start()
        try:
            async with asyncio.timeout(COLD_S):
                await self._settled.wait()
        except TimeoutError:
            self._give_up("not warm in time")

    # The forker -----------------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._again:
            self._again.cancel()
        try:
            link = Link.start()
        except OSError as error:
            self._give_up(str(error))
            return
        if link is None:
            self._settled.set()
        else:
            self._attach(link)

    def _attach(self, link: Link) -> None:
        self._link = link
        self._settled.clear()
        self._pidfd = os.pidfd_open(link.popen.pid)
        loop = asyncio.get_running_loop()
        loop.add_reader(link.socket.fileno(), self._hear, link)
        loop.add_reader(self._pidfd, self._ended, link)

    def _detach(self, *, is_ending: bool = False) -> None:
        """End the forker; what was ordered from it and is not born is started by exec, but not at the end of master."""
        link, self._link = self._link, None
        self._settled.set()
        self._stop_clock()
        if link is None:
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(link.socket.fileno())
        loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        link.close()
        while self._ordered:
            ordered = self._ordered.popleft()
            os.close(ordered.go_fd)
            if is_ending:
                ordered.birth.abandon()
            else:
                _execute(ordered.birth, ordered.take)

    def _give_up(self, reason: str) -> None:
        """Do without for a while."""
        self._log.warning("forker.failed", reason=reason, again_s=AGAIN_S)
        self._detach()
        self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._start)

    def _ended(self, link: Link) -> None:
        self._give_up(f"ended with {link.popen.wait()}")

    # Orders ---------------------------------------------------------------------------------------------------------------

    def _order(self, link: Link, birth: Birth, take: Take) -> bool:
        """Ask the forker for a child; False when it takes no order."""
        place, fds = birth.place, birth.fds()
        order = Order(place.module, birth.arguments(), [option for option, _ in fds], place.nice)
        try:
            go_read, go_write = os.pipe2(os.O_CLOEXEC)
        except OSError:
            return False
        try:
            socket.send_fds(link.socket, [encode_order(order)], [go_read, *(fd for _, fd in fds)])
        except OSError:  # it has ended, or its queue is full
            os.close(go_write)
            return False
        finally:
            os.close(go_read)
        self._ordered.append(_Ordered(birth, go_write, take))
        if self._late is None:
            self._start_clock()
        return True

    def _hear(self, link: Link) -> None:
        """Take what the forker says; its end is told by its pidfd."""
        while self._link is link:
            try:
                data = link.socket.recv(MAX_ORDER)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(link.socket.fileno())
                return
            if data == WARM:
                self._settled.set()
            else:
                self._born(decode_born(data))

    def _born(self, born: Born) -> None:
        """Answer the oldest order: the child may begin now that its pid is known."""
        ordered = self._ordered.popleft()
        self._stop_clock()
        if self._ordered:
            self._start_clock()
        with open(ordered.go_fd, "wb", buffering=0) as go:
            if born.error:
                ordered.birth.abandon()
                ordered.take(OSError(born.error, os.strerror(born.error)))
                return
            try:
                process = ordered.birth.process(born.pid)
            except OSError as error:
                ordered.take(error)
                return
            with contextlib.suppress(BrokenPipeError):  # killed meanwhile; its pidfd tells
                go.write(GO)
        ordered.take(process)

    def _start_clock(self) -> None:
        wait_s = WARM_S if self._settled.is_set() else COLD_S
        self._late = asyncio.get_running_loop().call_later(wait_s, self._give_up, "does not answer")

    def _stop_clock(self) -> None:
        if self._late:
            self._late.cancel()
            self._late = None


def _execute(birth: Birth, take: Take) -> None:
    try:
        process = birth.execute()
    except OSError as error:
        take(error)
    else:
        take(process)
