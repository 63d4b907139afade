"""Master's side of the bus: tells which processes have ended, hears whom the bus has lost, and asks.

What ended is kept and sent again until a bus has heard it. Messages of one connection stay in order, so the
answer to a question that was sent after it is the proof.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgspec import Struct

from bus.asking import BusError
from bus.connection import Away, Connection
from bus.messages import Answer, Ask, Bye, FromBus, Gone, Hello, Living, Lost, Welcome
from config.names import Instance
from config.settings import Settings

REMEMBERED = 1000  # processes that ended, in case the bus asks for one again


class _Asked(Struct, frozen=True, eq=False):
    """One question that waits for its answer; a bus that has just started is asked it again."""

    message: Ask
    answer: asyncio.Future[Answer]


class Overseer:
    """Master on the bus; used as `async with Overseer(...) as overseer`, on one event loop."""

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        on_lost: Callable[[tuple[Instance, ...]], None],
        living: Callable[[], tuple[Instance, ...]],
    ) -> None:
        self._me = Hello(role="master", name="master", instance=instance, pid=os.getpid())
        self._on_lost = on_lost
        self._living = living
        path = Path(settings.site.run) / "work.sock"
        self._connection = Connection(path, lambda: self._me, self._take, lambda _: None)
        self._ended: dict[Instance, bool] = {}  # and whether it crashed; the last REMEMBERED
        self._unheard: dict[Instance, None] = {}
        self._told: dict[int, tuple[Instance, ...]] = {}  # what each question "heard" was sent after
        self._asked: dict[int, _Asked] = {}
        self._number = 0

    async def __aenter__(self) -> Self:
        self._connection.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.send(Bye())
        self._connection.close()
        for asked in self._asked.values():
            asked.answer.cancel()

    @property
    def connected(self) -> bool:
        """Whether the bus that is there knows us."""
        return self._connection.is_welcome

    def gone(self, instances: Sequence[Instance], crashed: bool) -> None:
        """Tell that these processes have been reaped; kept and sent again until a bus has heard it."""
        for instance in instances:
            self._ended[instance] = crashed
            self._unheard[instance] = None
        while len(self._ended) > REMEMBERED:
            oldest = next(iter(self._ended))
            del self._ended[oldest]
            self._unheard.pop(oldest, None)
        self._tell(instances)

    async def ask(self, what: str, *, timeout_s: float = 5.0, **args: Any) -> Any:
        """Ask the bus something; raises Away when it does not answer, BusError when it will not."""
        self._number += 1
        message = Ask(what=what, args=args, number=self._number)
        asked = self._asked[message.number] = _Asked(message, asyncio.get_running_loop().create_future())
        if self._connection.is_welcome:
            self._connection.send(message)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await asked.answer
        except TimeoutError as error:
            raise Away(f"the bus did not answer {what!r} within {timeout_s} s") from error
        finally:
            del self._asked[message.number]
        if answer.error:
            raise BusError(answer.error)
        return answer.data

    def _tell(self, instances: Sequence[Instance]) -> None:
        """Send what ended, and a question whose answer shows that it was heard."""
        if not self._connection.is_welcome or not instances:
            return
        for crashed in (True, False):
            these = tuple(one for one in instances if self._ended[one] is crashed)
            if these:
                self._connection.send(Gone(these, crashed))
        self._number += 1
        self._told[self._number] = tuple(instances)
        self._connection.send(Ask(what="heard", number=self._number))

    def _take(self, message: FromBus, _: Sequence[bytes]) -> None:
        match message:
            case Welcome():
                self._told.clear()
                self._tell(tuple(self._unheard))
                self._connection.send(Living(tuple(self._living())))
                for asked in self._asked.values():
                    self._connection.send(asked.message)
            case Lost():
                self._hear_lost(message.instances)
            case Answer():
                for instance in self._told.pop(message.number, ()):
                    self._unheard.pop(instance, None)
                waiting = self._asked.get(message.number)
                if waiting is not None and not waiting.answer.done():
                    waiting.answer.set_result(message)
            case _:
                pass

    def _hear_lost(self, instances: tuple[Instance, ...]) -> None:
        """Say again what the bus should know; the others are for master to end."""
        ended = tuple(one for one in instances if one in self._ended)
        self._tell(ended)
        lost = tuple(one for one in instances if one not in self._ended)
        if lost:
            self._on_lost(lost)
