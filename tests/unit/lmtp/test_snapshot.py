"""The upkeep of the snapshot."""

import asyncio
import threading

import pytest
import structlog

from lists.errors import StoreAway
from lmtp import snapshot as module
from lmtp.snapshot import Snapshot
from tests.support.loop_thread import StoreOfLists


class SlowStore(StoreOfLists):
    """A store whose questions wait for a test; counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = threading.Event()
        self.questions = 0
        self.is_new = False
        self.refreshed = 0

    def is_current(self) -> bool:
        self.questions += 1
        self.may_answer.wait(5)
        super().is_current()
        return not self.is_new

    def refresh(self) -> bool:
        self.refreshed += 1
        self.is_new = False
        return super().refresh()


def make_snapshot(store: StoreOfLists) -> Snapshot:
    """Make the upkeep of this store."""
    return Snapshot(store, structlog.wrap_logger(structlog.testing.CapturingLogger()))


def test_those_who_ask_while_a_question_is_on_its_way_share_the_next() -> None:
    """The first question began before they asked, so it is not theirs."""

    async def go() -> None:
        store = SlowStore()
        snapshot = make_snapshot(store)
        answers = [snapshot.assure() for _ in range(10)]
        store.may_answer.set()
        assert await asyncio.gather(*answers) == [True] * 10
        assert store.questions == 2
        snapshot.close()

    asyncio.run(go())


def test_what_is_newer_is_read_before_the_answer() -> None:
    """Then the same question has a new answer."""

    async def go() -> None:
        store = SlowStore()
        store.may_answer.set()
        store.is_new = True
        snapshot = make_snapshot(store)
        assert await snapshot.assure()
        assert store.refreshed == 1
        snapshot.close()

    asyncio.run(go())


@pytest.mark.parametrize("error", [StoreAway("locked", "wait"), RuntimeError("a bug")], ids=["away", "bug"])
def test_a_store_that_cannot_be_asked_says_nothing(error: Exception) -> None:
    """False: 451, never 5xx."""

    async def go() -> None:
        store = StoreOfLists()
        store.away = error
        snapshot = make_snapshot(store)
        assert not await snapshot.assure()
        store.away = None
        assert await snapshot.assure()
        snapshot.close()

    asyncio.run(go())


def test_a_store_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """After ASSURE_S nobody could say."""
    monkeypatch.setattr(module, "ASSURE_S", 0.05)

    async def go() -> None:
        store = SlowStore()
        snapshot = make_snapshot(store)
        assert not await snapshot.assure()
        assert not await snapshot.assure()
        store.may_answer.set()
        snapshot.close()

    asyncio.run(go())


def test_the_store_is_tried_until_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come later than we."""
    monkeypatch.setattr(module, "REFRESH_S", 0.01)

    async def go() -> None:
        store = StoreOfLists()
        store.away = StoreAway("no such folder", "make it")
        snapshot = make_snapshot(store)
        keeping = asyncio.create_task(snapshot.keep())
        assert not await snapshot.assure()  # behind the first try in the same thread
        assert not snapshot.is_loaded.is_set()
        store.away = None
        await asyncio.wait_for(snapshot.is_loaded.wait(), 5)
        keeping.cancel()
        snapshot.close()

    asyncio.run(go())
