"""Effects that come together are one commit, and none of them can hurt another; against a real store."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from sqlalchemy import event

from config.names import ListId, id_about
from lists.changes import Decision, JoinMember
from lists.errors import StoreAway
from lists.roster import Roster
from lists.store import Store
from runners.effects import Effects
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
ITEMS = [id_about(f"item {number}") for number in range(40)]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path)) as opened:
        opened.create_list("ant@example.org")
        yield opened


def join(number: int) -> Decision:
    return Decision((JoinMember(ANT, f"m{number:02}@example.net"),), f"{number}".encode())


def count_commits(store: Store) -> list[object]:
    commits: list[object] = []
    event.listen(store.engine, "commit", commits.append)
    return commits


async def apply_all(store: Store, raising: frozenset[int] = frozenset()) -> list[bytes | BaseException]:
    """Let the first be on its way while the others come."""
    is_begun, may_go = asyncio.Event(), Event()
    loop = asyncio.get_running_loop()

    def opened() -> Store:
        loop.call_soon_threadsafe(is_begun.set)
        assert may_go.wait(10)
        return store

    def decide(number: int, _: Roster) -> Decision:
        if number in raising:
            raise ValueError(number)
        return join(number)

    effects = Effects(opened)
    first = asyncio.ensure_future(effects.apply(ITEMS[0], lambda roster: decide(0, roster)))
    await is_begun.wait()
    others = [
        asyncio.ensure_future(effects.apply(item, lambda roster, number=number: decide(number, roster)))  # type: ignore[misc]
        for number, item in enumerate(ITEMS[1:], 1)
    ]
    await asyncio.sleep(0)
    may_go.set()
    return await asyncio.gather(first, *others, return_exceptions=True)


def test_what_comes_while_a_commit_is_on_its_way_is_the_next_one(store: Store) -> None:
    commits = count_commits(store)
    outcomes = asyncio.run(apply_all(store))
    assert outcomes == [str(number).encode() for number in range(40)]
    assert len(commits) == 3, "the first alone, then 32, then the rest"
    assert store.count_members(ANT) == 40


def test_a_decision_that_raises_hurts_none_of_its_neighbours(store: Store) -> None:
    outcomes = asyncio.run(apply_all(store, frozenset({3, 35})))
    assert [number for number, each in enumerate(outcomes) if isinstance(each, ValueError)] == [3, 35]
    assert store.count_members(ANT) == 38
    assert all(store.outcome(ITEMS[number]) is None for number in (3, 35))
    assert all(store.outcome(ITEMS[number]) is not None for number in range(40) if number not in (3, 35))


def test_a_store_that_is_away_is_so_for_all_at_once() -> None:
    asked: list[int] = []

    def opened() -> Store:
        asked.append(1)
        raise StoreAway("gone", "wait")

    async def work() -> list[bytes | BaseException]:
        effects = Effects(opened)
        wanted = (effects.apply(item, lambda _: Decision()) for item in ITEMS[:20])
        return await asyncio.gather(*wanted, return_exceptions=True)

    outcomes = asyncio.run(work())
    assert all(isinstance(each, StoreAway) for each in outcomes)
    assert len(asked) == 2, "the first, and those who came meanwhile"


def test_who_has_gone_before_its_turn_is_left_out(store: Store) -> None:
    async def work() -> None:
        effects = Effects(lambda: store)
        first = asyncio.ensure_future(effects.apply(ITEMS[0], lambda _: join(0)))
        second = asyncio.ensure_future(effects.apply(ITEMS[1], lambda _: join(1)))
        await asyncio.sleep(0)
        second.cancel()
        await first
        await effects.apply(ITEMS[2], lambda _: join(2))

    asyncio.run(work())
    assert [member.address for member in store.members(ANT)] == ["m00@example.net", "m02@example.net"]
