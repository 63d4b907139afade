"""The items of a run: one transaction in their order, or none; against a real store."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from config.names import ListId, id_about
from lists.changes import Decision, JoinMember
from lists.roster import Roster
from lists.store import Store
from runners.effects import Effects
from runners.together import Together, Undone
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
ITEMS = [id_about(f"item {number}") for number in range(6)]

Says = Callable[[Together, int], Awaitable[bytes | None]]  # what a handler does; None: not to be settled


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path)) as opened:
        opened.create_list("ant@example.org")
        yield opened


def count_commits(store: Store) -> list[object]:
    commits: list[object] = []
    event.listen(store.engine, "commit", commits.append)
    return commits


def decide(number: int, roster: Roster) -> Decision:
    """Join, and tell how many of the run are members already."""
    before = sum(roster.member(ANT, f"m{each}@example.net") is not None for each in range(len(ITEMS)))
    return Decision((JoinMember(ANT, f"m{number}@example.net"),), f"{number} after {before}".encode())


async def joins(together: Together, number: int) -> bytes | None:
    try:
        outcome = await together.apply(ITEMS[number], lambda roster: decide(number, roster))
    except Undone:
        outcome = b""
    return outcome if await together.stands(ITEMS[number], is_ack=bool(outcome)) else None


async def waits_and_joins(together: Together, number: int) -> bytes | None:
    await asyncio.sleep(0)
    return await joins(together, number)


async def does_nothing(together: Together, number: int) -> bytes | None:
    return b"nothing" if await together.stands(ITEMS[number], is_ack=True) else None


async def says_retry(together: Together, number: int) -> bytes | None:
    return b"retry" if await together.stands(ITEMS[number], is_ack=False) else None


async def keeps_nothing(together: Together, number: int) -> bytes | None:
    """Say Retry inside the transaction."""
    with pytest.raises(Undone):
        await together.apply(ITEMS[number], lambda _: Decision(keep=False))
    return b"" if await together.stands(ITEMS[number], is_ack=False) else None


async def raises(together: Together, number: int) -> bytes | None:
    """Raise inside the transaction."""

    def fail(_: Roster) -> Decision:
        raise ValueError(number)

    with pytest.raises(Undone):
        await together.apply(ITEMS[number], fail)
    return b"" if await together.stands(ITEMS[number], is_ack=False) else None


def handle(store: Store, handlers: Sequence[Says]) -> list[bytes | None]:
    """Let these handlers be a run; returns what each is settled with."""

    async def work() -> list[bytes | None]:
        together = Together(Effects(lambda: store), ITEMS[: len(handlers)])
        async with asyncio.timeout(10):
            found = await asyncio.gather(*(says(together, number) for number, says in enumerate(handlers)))
        assert together.is_done == (None not in found)
        return found

    return asyncio.run(work())


def test_a_run_is_one_commit_in_its_order_whoever_speaks_first(store: Store) -> None:
    commits = count_commits(store)
    outcomes = handle(store, [waits_and_joins, joins, does_nothing, joins])
    assert outcomes == [b"0 after 0", b"1 after 1", b"nothing", b"3 after 2"]
    assert len(commits) == 1


def test_a_run_without_effects_needs_no_commit(store: Store) -> None:
    commits = count_commits(store)
    assert handle(store, [does_nothing, does_nothing]) == [b"nothing", b"nothing"]
    assert not commits


def test_a_run_that_comes_again_gets_what_was_stored(store: Store) -> None:
    first = handle(store, [joins, joins, joins])
    assert handle(store, [joins, joins, joins]) == first
    assert store.count_members(ANT) == 3


@pytest.mark.parametrize("bad", [says_retry, keeps_nothing, raises])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_one_that_is_no_ack_undoes_all_of_its_run(store: Store, bad: Says, place: int) -> None:
    handlers: list[Says] = [joins, does_nothing, waits_and_joins]
    handlers.insert(place, bad)
    assert handle(store, handlers) == [None] * 4
    assert store.count_members(ANT) == 0
    assert all(store.outcome(item) is None for item in ITEMS)


def test_a_run_that_is_undone_leaves_others_alone(store: Store) -> None:
    """They may have been in the same transaction."""

    async def work() -> None:
        effects = Effects(lambda: store)
        together = Together(effects, ITEMS[:2])
        other = asyncio.ensure_future(effects.apply(ITEMS[5], lambda _: Decision(outcome=b"kept")))
        run = asyncio.gather(joins(together, 0), raises(together, 1))
        late = asyncio.ensure_future(effects.apply(ITEMS[4], lambda _: Decision(outcome=b"late")))
        assert list(await run) == [None, None]
        assert (await other, await late) == (b"kept", b"late")

    asyncio.run(work())
    assert (store.outcome(ITEMS[0]), store.outcome(ITEMS[5])) == (None, b"kept")


def test_a_run_whose_tasks_are_cancelled_before_its_turn_is_left_out(store: Store) -> None:
    async def work() -> None:
        effects = Effects(lambda: store)
        first = asyncio.ensure_future(effects.apply(ITEMS[5], lambda _: Decision(outcome=b"first")))
        await asyncio.sleep(0)
        together = Together(effects, ITEMS[:2])
        run = asyncio.gather(joins(together, 0), joins(together, 1))
        await asyncio.sleep(0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        await first
        await effects.apply(ITEMS[4], lambda _: Decision(outcome=b"last"))

    asyncio.run(work())
    assert store.count_members(ANT) == 0


@given(
    handlers=st.lists(
        st.sampled_from([joins, waits_and_joins, does_nothing, says_retry]), min_size=1, max_size=6
    )
)
@settings(max_examples=30, deadline=None)
def test_all_of_a_run_or_nothing(tmp_path_factory: pytest.TempPathFactory, handlers: list[Says]) -> None:
    with Store(make_settings(tmp_path_factory.mktemp("run"))) as store:
        store.create_list("ant@example.org")
        outcomes = handle(store, handlers)
        if says_retry in handlers:
            assert outcomes == [None] * len(handlers)
            assert store.count_members(ANT) == 0
        else:
            assert None not in outcomes
            assert store.count_members(ANT) == sum(says is not does_nothing for says in handlers)


@pytest.mark.parametrize("says", [does_nothing, joins], ids=["without effects", "with effects"])
def test_all_go_on_in_their_order_whoever_spoke_last(store: Store, says: Says) -> None:
    """Who goes on first settles first: outputs of a list would change places."""
    went_on: list[int] = []

    async def handle(together: Together, number: int) -> None:
        await says(together, number)
        went_on.append(number)

    async def go() -> None:
        together = Together(Effects(lambda: store), ITEMS)
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(ITEMS)):
                tasks.create_task(handle(together, number))

    asyncio.run(go())
    assert went_on == list(range(len(ITEMS)))
