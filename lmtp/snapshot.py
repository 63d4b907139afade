"""Keeps the snapshot of the lists new: every half second, and at once before a refusal.

All that may block runs in one worker thread, in the order in which it was asked for. Before a 5xx the store is asked whether the
snapshot is current (DESIGN, RCPT policy): sessions that ask while a question is on its way share the next one, never the one that
began before they asked. Whoever has no answer after 2 s hears that nobody could say, and answers 451.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

import structlog

from lists.errors import StoreAway
from lmtp.ports import Store

REFRESH_S: Final = 0.5  # a change made by bin/postroom is seen within a second
ASSURE_S: Final = 2.0  # a client waits that long for a lock in the store, then 451

Answer = asyncio.Future[bool]


class Snapshot:
    """The upkeep of one Directory; `close` lets its thread end."""

    def __init__(self, store: Store, log: structlog.typing.FilteringBoundLogger) -> None:
        self._store = store
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self._asked: list[Answer] = []  # for the next question
        self._running: Answer | None = None
        self._is_away = False
        self.is_loaded = asyncio.Event()

    async def keep(self) -> None:
        """Load, then look for changes, until cancelled. The store may come and go; the last snapshot stays."""
        loop = asyncio.get_running_loop()
        while True:
            renew = self._refresh if self.is_loaded.is_set() else self._load
            if await loop.run_in_executor(self._thread, renew):
                self.is_loaded.set()
            await asyncio.sleep(REFRESH_S)

    def close(self) -> None:
        """Let the thread end; what it does now is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def assure(self) -> Answer:
        """Ask whether the snapshot is current, making it so; False when nobody can say within ASSURE_S."""
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        timer = loop.call_later(ASSURE_S, _settle, answer, False)
        answer.add_done_callback(lambda _: timer.cancel())
        self._asked.append(answer)
        if self._running is None:
            self._put_question()
        return answer

    def _put_question(self) -> None:
        asked, self._asked = self._asked, []
        self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._make_current)
        self._running.add_done_callback(partial(self._answered, asked))

    def _answered(self, asked: list[Answer], question: Answer) -> None:
        self._running = None
        is_current = False
        if not question.cancelled():
            error = question.exception()
            if error is None:
                is_current = question.result()
            else:
                self._log.error("snapshot.failed", error=f"{type(error).__name__}: {error}", exc_info=error)
        for answer in asked:
            _settle(answer, is_current)
        if self._asked:
            self._put_question()

    # In the thread ------------------------------------------------------------------------------------------------------

    def _load(self) -> bool:
        try:
            self._store.load()
        except StoreAway as error:
            return self._away(error)
        self._log.info("snapshot.loaded")
        return self._back()

    def _refresh(self) -> bool:
        try:
            if self._store.refresh():
                self._log.debug("snapshot.loaded")
        except StoreAway as error:
            return self._away(error)
        return self._back()

    def _make_current(self) -> bool:
        try:
            if not self._store.is_current():
                self._store.refresh()
        except StoreAway as error:
            return self._away(error)
        return self._back()

    def _away(self, error: StoreAway) -> bool:
        if not self._is_away:  # one line for each time it goes
            self._log.warning("snapshot.failed", error=str(error))
        self._is_away = True
        return False

    def _back(self) -> bool:
        self._is_away = False
        return True


def _settle(answer: Answer, is_current: bool) -> None:
    if not answer.done():
        answer.set_result(is_current)
