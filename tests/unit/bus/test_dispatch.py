"""Leases, blame, and what happens when processes or the bus itself die."""

from collections.abc import Sequence

from bus.dispatch import GRACE_MS, Dispatch
from bus.journal.api import Blame, Defer, Row, Shunt, State
from bus.leases import Lease, Standing
from bus.messages import LeaseToken, Retry
from bus.order import Where
from config.names import Instance, ItemId, ListId, Queue

NOW_MS = 1_800_000_000_000
QUEUE = Queue("incoming")
ANN, BOB = Instance("ann:1"), Instance("bob:1")


def make_row(row: int, list_id: str = "", **fields: object) -> Row:
    values: dict[str, object] = {"place": row, "state": State.READY, **fields}
    return Row(
        row=row,
        id=item_id(row),
        queue=QUEUE,
        list_id=ListId(list_id),
        **values,  # type: ignore[arg-type]
    )


def item_id(row: int) -> ItemId:
    return ItemId(f"{row:032x}")


def make_dispatch(*rows: Row, crashes: int = 3) -> Dispatch:
    """Make a dispatch that has these rows in its journal since it started."""
    dispatch = Dispatch(crashes, lambda: 0.5)
    dispatch.tick(NOW_MS)
    for row in rows:
        dispatch.add(row, NOW_MS)
    return dispatch


def recover(*rows: Row) -> Dispatch:
    """Make a dispatch that found these rows at its start."""
    dispatch = Dispatch(3, lambda: 0.5)
    dispatch.recover(rows, NOW_MS)
    return dispatch


def granted(dispatch: Dispatch) -> list[tuple[int, Instance]]:
    return [(grant.row, grant.instance) for grant in dispatch.grant()]


def hold(dispatch: Dispatch, instance: Instance, row: int) -> Lease:
    return next(lease for lease in dispatch.workers[instance].in_hand.values() if lease.entry.row.row == row)


def operations(pairs: Sequence[tuple[object, Blame | Shunt]]) -> list[Blame | Shunt]:
    return [operation for _, operation in pairs]


def test_nobody_gets_more_than_it_has_slots() -> None:
    dispatch = make_dispatch(*(make_row(n) for n in range(1, 6)))
    dispatch.hello(ANN, QUEUE, 2, ())
    dispatch.hello(BOB, QUEUE, 1, ())
    assert granted(dispatch) == [(1, ANN), (2, ANN), (3, BOB)]
    assert granted(dispatch) == []


def test_a_slot_is_free_as_soon_as_the_settlement_is_read() -> None:
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 1, ())
    granted(dispatch)
    dispatch.settle(hold(dispatch, ANN, 1))
    assert granted(dispatch) == [(2, ANN)]


def test_a_list_waits_until_the_settlement_is_durable() -> None:
    dispatch = make_dispatch(make_row(1, "a"), make_row(2, "a"))
    dispatch.hello(ANN, QUEUE, 5, ())
    granted(dispatch)
    entry = dispatch.settle(hold(dispatch, ANN, 1))
    assert granted(dispatch) == []
    dispatch.remove(entry)
    assert granted(dispatch) == [(2, ANN)]


def test_the_one_item_of_a_crashed_runner_is_blamed_and_goes_alone_next_time() -> None:
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 1, ())
    granted(dispatch)
    assert operations(dispatch.gone(ANN, crashed=True)) == [Blame(row=1, crashes=1, suspect=False)]
    dispatch.hello(BOB, QUEUE, 4, ())
    assert granted(dispatch) == [(2, BOB)]
    dispatch.remove(dispatch.settle(hold(dispatch, BOB, 2)))
    assert granted(dispatch) == [(1, BOB)]
    dispatch.add(make_row(3), NOW_MS)
    assert granted(dispatch) == []  # nothing beside it


def test_of_several_in_hand_none_is_blamed_and_each_goes_alone() -> None:
    dispatch = make_dispatch(*(make_row(n) for n in (1, 2, 3)))
    dispatch.hello(ANN, QUEUE, 2, ())
    granted(dispatch)
    assert operations(dispatch.gone(ANN, crashed=True)) == [
        Blame(row=1, crashes=0, suspect=True),
        Blame(row=2, crashes=0, suspect=True),
    ]
    dispatch.hello(BOB, QUEUE, 2, ())
    seen = []
    for _ in range(3):
        pairs = granted(dispatch)
        assert len(pairs) == 1
        seen.append(pairs[0][0])
        dispatch.remove(dispatch.settle(hold(dispatch, BOB, pairs[0][0])))
    assert sorted(seen) == [1, 2, 3]


def test_what_is_being_settled_is_not_in_hand_when_its_runner_dies() -> None:
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 2, ())
    granted(dispatch)
    dispatch.settle(hold(dispatch, ANN, 1))
    assert operations(dispatch.gone(ANN, crashed=True)) == [Blame(row=2, crashes=1, suspect=False)]


def test_the_third_crash_sets_aside() -> None:
    dispatch = make_dispatch(make_row(1, crashes=2), make_row(2, "", crashes=0))
    dispatch.hello(ANN, QUEUE, 1, ())
    granted(dispatch)
    pairs = dispatch.gone(ANN, crashed=True) if 1 in held_rows(dispatch, ANN) else []
    if not pairs:  # the other came first
        dispatch.remove(dispatch.settle(hold(dispatch, ANN, 2)))
        granted(dispatch)
        pairs = dispatch.gone(ANN, crashed=True)
    blame, shunt = operations(pairs)
    assert blame == Blame(row=1, crashes=3, suspect=False)
    assert isinstance(shunt, Shunt)
    assert shunt.reason == "crash-loop"
    dispatch.shunt(pairs[1][0])
    assert dispatch.order_of(QUEUE).gauges()["shunted"] == 1


def held_rows(dispatch: Dispatch, instance: Instance) -> set[int]:
    return {lease.entry.row.row for lease in dispatch.workers[instance].in_hand.values()}


def test_a_clean_exit_blames_nobody() -> None:
    dispatch = make_dispatch(make_row(1))
    dispatch.hello(ANN, QUEUE, 1, ())
    granted(dispatch)
    assert dispatch.gone(ANN, crashed=False) == []
    dispatch.hello(BOB, QUEUE, 1, ())
    assert granted(dispatch) == [(1, BOB)]


def test_a_suspect_that_came_back_is_no_suspect_any_more() -> None:
    dispatch = make_dispatch(make_row(1, suspect=True))
    dispatch.hello(ANN, QUEUE, 1, ())
    granted(dispatch)
    retry = Retry(lease=LeaseToken("1", 1), reason="later")
    blame, defer = dispatch.judge_retry(hold(dispatch, ANN, 1), retry, NOW_MS)
    assert blame == Blame(row=1, crashes=0, suspect=False)
    assert isinstance(defer, Defer)


def test_a_suspect_gets_its_empty_handed_runner_though_others_keep_coming() -> None:
    """The runner with the fewest items is kept free of new ones until it is empty-handed; the other goes on."""
    dispatch = make_dispatch(*(make_row(n) for n in range(1, 5)))
    dispatch.hello(ANN, QUEUE, 2, ())
    dispatch.hello(BOB, QUEUE, 2, ())
    granted(dispatch)
    dispatch.add(make_row(5, suspect=True), NOW_MS)
    for row in range(6, 30):
        dispatch.add(make_row(row), NOW_MS)
    for turn in range(6):
        worker = (ANN, BOB)[turn % 2]
        dispatch.remove(dispatch.settle(hold(dispatch, worker, min(held_rows(dispatch, worker)))))
        if (5, worker) in granted(dispatch):
            break
    assert held_rows(dispatch, worker) == {5}
    assert len(held_rows(dispatch, BOB if worker == ANN else ANN)) == 2


def test_silence_frees_nothing_and_gets_nothing() -> None:
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 2, ())
    dispatch.grant()
    dispatch.remove(dispatch.settle(hold(dispatch, ANN, 2)))
    dispatch.hush(ANN)
    dispatch.add(make_row(3, "x"), NOW_MS)
    dispatch.hello(BOB, QUEUE, 5, ())
    assert granted(dispatch) == [(3, BOB)]
    dispatch.gone(ANN, crashed=True)
    dispatch.remove(dispatch.settle(hold(dispatch, BOB, 3)))
    assert granted(dispatch) == [(1, BOB)]


def test_a_settlement_under_a_lost_lease_is_stale() -> None:
    dispatch = make_dispatch(make_row(1))
    dispatch.hello(ANN, QUEUE, 1, ())
    number = dispatch.grant()[0].number
    dispatch.gone(ANN, crashed=True)
    dispatch.hello(BOB, QUEUE, 1, ())
    dispatch.grant()
    assert dispatch.lease(ANN, number) is Standing.STALE
    assert dispatch.lease(BOB, number) is Standing.STALE


def test_a_settlement_sent_twice_is_obeyed_once() -> None:
    dispatch = make_dispatch(make_row(1))
    dispatch.hello(ANN, QUEUE, 1, ())
    number = dispatch.grant()[0].number
    entry = dispatch.settle(hold(dispatch, ANN, 1))
    assert dispatch.lease(ANN, number) is Standing.PENDING
    dispatch.remove(entry)
    dispatch.finished(number)
    assert dispatch.lease(ANN, number) is Standing.DONE
    assert dispatch.lease(BOB, number) is Standing.STALE


def test_after_a_new_connection_what_never_arrived_goes_to_others() -> None:
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 2, ())
    numbers = {grant.row: grant.number for grant in dispatch.grant()}
    assert dispatch.hello(ANN, QUEUE, 2, [item_id(1)]) == {item_id(1): numbers[1]}
    dispatch.hello(BOB, QUEUE, 1, ())
    assert {row for row, _ in granted(dispatch)} == {2}


def test_a_settlement_whose_answer_was_lost_is_still_its_own() -> None:
    dispatch = make_dispatch(make_row(1))
    dispatch.hello(ANN, QUEUE, 1, ())
    number = dispatch.grant()[0].number
    dispatch.remove(dispatch.settle(hold(dispatch, ANN, 1)))
    dispatch.finished(number)
    assert dispatch.hello(ANN, QUEUE, 1, [item_id(1)]) == {item_id(1): number}
    assert dispatch.lease(ANN, number) is Standing.DONE


def test_after_a_restart_those_that_live_have_a_second_to_claim() -> None:
    dispatch = recover(make_row(1, "a"), make_row(2, "a"))
    dispatch.hello(BOB, QUEUE, 5, ())
    assert granted(dispatch) == []
    assert list(dispatch.hello(ANN, QUEUE, 1, [item_id(1)])) == [item_id(1)]
    dispatch.tick(NOW_MS + GRACE_MS)
    assert granted(dispatch) == []  # the list has one in hand
    dispatch.remove(dispatch.settle(hold(dispatch, ANN, 1)))
    assert [row for row, _ in granted(dispatch)] == [2]


def test_the_second_is_over_when_all_that_live_have_said_hello() -> None:
    dispatch = recover(make_row(1))
    dispatch.hello(BOB, QUEUE, 1, ())
    dispatch.living([ANN, BOB])
    assert granted(dispatch) == []
    dispatch.hello(ANN, QUEUE, 1, ())
    assert len(granted(dispatch)) == 1


def test_an_empty_journal_waits_for_nobody() -> None:
    dispatch = recover()
    dispatch.hello(BOB, QUEUE, 1, ())
    dispatch.add(make_row(1), NOW_MS)
    assert granted(dispatch) == [(1, BOB)]


def test_a_claim_of_what_is_settled_or_lent_is_refused() -> None:
    dispatch = recover(
        make_row(1, state=State.DEFERRED, due_ms=NOW_MS + 9000, first_retry_ms=NOW_MS),
        make_row(2, state=State.SHUNTED),
        make_row(3),
    )
    dispatch.tick(NOW_MS + GRACE_MS)
    dispatch.hello(BOB, QUEUE, 5, [item_id(3)])
    assert dispatch.hello(ANN, QUEUE, 5, [item_id(n) for n in (1, 2, 3, 4)]) == {}


def test_what_was_begun_goes_only_to_who_began_it() -> None:
    dispatch = recover(make_row(1, begun_by=ANN))
    dispatch.hello(BOB, QUEUE, 1, [item_id(1)])
    dispatch.tick(NOW_MS + 10**9)
    dispatch.living([ANN, BOB])
    assert granted(dispatch) == []
    assert list(dispatch.hello(ANN, QUEUE, 1, [item_id(1)])) == [item_id(1)]
    assert held_rows(dispatch, ANN) == {1}


def test_what_was_begun_is_free_when_who_began_it_is_gone() -> None:
    dispatch = recover(make_row(1, begun_by=ANN))
    dispatch.tick(NOW_MS + GRACE_MS)
    dispatch.hello(BOB, QUEUE, 1, ())
    assert granted(dispatch) == []
    assert operations(dispatch.gone(ANN, crashed=True)) == [Blame(row=1, crashes=1, suspect=False)]
    assert granted(dispatch) == [(1, BOB)]


def test_what_was_begun_is_free_when_master_does_not_know_who_began_it() -> None:
    dispatch = recover(make_row(1, begun_by=ANN))
    dispatch.hello(BOB, QUEUE, 1, ())
    dispatch.living([BOB])
    assert granted(dispatch) == [(1, BOB)]


def test_what_was_begun_is_free_when_who_began_it_has_let_go() -> None:
    dispatch = recover(make_row(1, begun_by=ANN))
    dispatch.tick(NOW_MS + GRACE_MS)
    dispatch.hello(ANN, QUEUE, 1, ())
    assert granted(dispatch) == [(1, ANN)]


def test_a_paused_queue_rests_and_others_do_not() -> None:
    dispatch = make_dispatch(make_row(1))
    dispatch.hello(ANN, QUEUE, 1, ())
    dispatch.paused.add(QUEUE)
    assert granted(dispatch) == []
    dispatch.paused.clear()
    assert list(dispatch.grant(stopped={QUEUE})) == []
    assert granted(dispatch) == [(1, ANN)]


def test_what_is_due_comes_back_with_the_tick() -> None:
    dispatch = make_dispatch(make_row(1, state=State.DEFERRED, due_ms=NOW_MS + 500))
    dispatch.hello(ANN, QUEUE, 1, ())
    assert dispatch.next_ms() == NOW_MS + 500
    dispatch.tick(NOW_MS + 499)
    assert granted(dispatch) == []
    dispatch.tick(NOW_MS + 500)
    assert granted(dispatch) == [(1, ANN)]


def test_a_clock_set_back_moves_retries_and_not_what_was_declared() -> None:
    dispatch = make_dispatch(
        make_row(1, state=State.DEFERRED, due_ms=NOW_MS + 60_000, first_retry_ms=NOW_MS, attempts=1),
        make_row(2, state=State.DEFERRED, due_ms=NOW_MS + 60_000),
    )
    dispatch.hello(ANN, QUEUE, 2, ())
    day_ms = 86_400_000
    dispatch.tick(NOW_MS - day_ms)
    dispatch.tick(NOW_MS - day_ms + 5_400_000)
    assert granted(dispatch) == [(1, ANN)]
    dispatch.tick(NOW_MS + 60_000)
    assert granted(dispatch) == [(2, ANN)]


def test_a_shunted_item_is_picked_once_and_comes_back_in_its_place() -> None:
    dispatch = make_dispatch(make_row(1, "a", state=State.SHUNTED), make_row(2, "a"))
    assert dispatch.pick_shunted([item_id(2)], None, None) == []
    (entry,) = dispatch.pick_shunted(None, QUEUE, ListId("a"))
    assert dispatch.pick_shunted(None, QUEUE, None) == []
    assert dispatch.order_of(QUEUE).gauges() == {"ready": 1, "leased": 0, "deferred": 0, "shunted": 1}
    dispatch.unshunt(entry, make_row(1, "a"))
    dispatch.hello(ANN, QUEUE, 1, ())
    assert granted(dispatch) == [(1, ANN)]


def test_what_the_bus_itself_takes_out_of_the_line_can_be_set_aside_from_everywhere() -> None:
    dispatch = make_dispatch(
        make_row(1, "a"),
        make_row(2, "a", state=State.DEFERRED, due_ms=NOW_MS + 5000, first_retry_ms=NOW_MS),
        make_row(3, "a", state=State.DEFERRED, due_ms=NOW_MS + 5000),
        make_row(4, "a"),
    )
    for row in (1, 2, 3):
        entry = dispatch.order_of(QUEUE).live[row]
        dispatch.withdraw(entry)
        assert entry.where is Where.BUSY
        dispatch.shunt(entry)
    dispatch.hello(ANN, QUEUE, 1, ())
    assert granted(dispatch) == [(4, ANN)]


def test_gauges_and_ages_are_counted_from_the_items() -> None:
    dispatch = make_dispatch(
        make_row(1, entered_ms=NOW_MS - 5000),
        make_row(2, entered_ms=NOW_MS - 9000, state=State.DEFERRED, due_ms=NOW_MS + 1),
        make_row(3, entered_ms=NOW_MS - 99_000, state=State.SHUNTED),
    )
    assert dispatch.order_of(QUEUE).gauges() == {"ready": 1, "leased": 0, "deferred": 1, "shunted": 1}
    assert dispatch.order_of(QUEUE).oldest_ms(NOW_MS) == NOW_MS - 5000
    assert dispatch.order_of(Queue("owner")).oldest_ms(NOW_MS) == NOW_MS


def test_what_crosses_a_second_hello_of_the_same_connection_is_not_leased_twice() -> None:
    """A lease sent a moment before is on its way: handing it out again would blame its neighbour for a crash."""
    dispatch = make_dispatch(make_row(1), make_row(2))
    dispatch.hello(ANN, QUEUE, 1, ())
    assert granted(dispatch) == [(1, ANN)]
    lease = hold(dispatch, ANN, 1)
    adopted = dispatch.hello(ANN, QUEUE, 1, (), is_known_connection=True)
    assert adopted == {lease.entry.row.id: lease.number}
    assert granted(dispatch) == []
    assert dispatch.hello(ANN, QUEUE, 1, ()) == {}  # a new connection: what was on its way is lost
    assert len(granted(dispatch)) == 1
