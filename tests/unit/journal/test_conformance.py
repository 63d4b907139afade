"""What every journal does: one suite, each engine passes it. The books are checked after every operation (Bench.do)."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bus.journal.api import (
    Acknowledged,
    Blame,
    Busy,
    Counters,
    Defer,
    Drop,
    Op,
    Pause,
    Settle,
    Shunt,
    State,
    Store,
    Stored,
    Trim,
    Unshunt,
    Write,
)
from config.names import Instance, ItemId, ListId, Queue
from tests.unit.journal.builders import (
    ANT,
    HOUR_MS,
    INCOMING,
    NOW_MS,
    OUTGOING,
    Bench,
    ids,
    make_item,
    make_note,
    make_output,
    make_store,
)

DUE = datetime(2026, 11, 20, tzinfo=UTC)
DUE_MS = int(DUE.timestamp() * 1000)

# in -------------------------------------------------------------------------------------------------------------------


def test_a_stored_item_is_a_ready_row(bench: Bench) -> None:
    result = bench.store(make_item("a", size=99), content=b"0123456789")
    assert result.ids == ids("a")
    (row,) = result.rows
    assert (row.id, row.queue, row.list_id, row.state) == (ids("a")[0], INCOMING, ANT, State.READY)
    assert (row.place, row.size, row.entered_ms) == (row.row, 10, NOW_MS)
    assert row.accepted_ms == int(datetime(2026, 11, 18, 8, tzinfo=UTC).timestamp() * 1000)
    assert bench.counts() == Counters(accepted=1)


def test_an_item_with_a_due_time_waits_for_it(bench: Bench) -> None:
    row = bench.put("a", due_at=DUE)
    assert (row.state, row.due_ms) == (State.DEFERRED, DUE_MS)
    assert bench.row(row) == row


def test_recipients_of_one_message_share_its_body(bench: Bench) -> None:
    rows = bench.store("a", "b", "c").rows
    assert bench.leftovers()["bodies"] == 1
    assert bench.leftovers()["uses"] == 3
    for row in rows:
        bench.settle(row)
    assert bench.leftovers()["bodies"] == 0


def test_the_same_id_again_is_counted_and_suppressed(bench: Bench) -> None:
    bench.put("a")
    again = bench.store("a", "b")
    assert again.ids == ids("a", "b")
    assert [row.id for row in again.rows] == list(ids("b"))
    assert bench.counts() == Counters(accepted=3, suppressed=1)


def test_the_same_id_twice_in_one_publish_is_one_item(bench: Bench) -> None:
    result = bench.store("a", "a")
    assert result.ids == ids("a", "a")
    assert len(result.rows) == 1
    assert bench.leftovers()["uses"] == 1


def test_a_publish_of_copies_alone_stores_no_body(bench: Bench) -> None:
    bench.put("a")
    assert bench.store("a", content=b"a body of its own").rows == ()
    assert bench.leftovers()["bodies"] == 1


@pytest.mark.parametrize(
    ("hours", "known"), [(0, True), (47.9, True), (48, False), (-47.9, True), (-48, False)]
)
def test_an_id_is_known_for_48_hours_after_its_item_is_gone(bench: Bench, hours: float, known: bool) -> None:
    bench.settle(bench.put("a"))
    bench.now_ms += int(hours * HOUR_MS)
    assert (bench.store("a").rows == ()) is known


def test_an_id_is_known_as_long_as_its_item_is_here(bench: Bench) -> None:
    bench.put("a")
    bench.now_ms += 100 * HOUR_MS
    bench.do(Trim())
    assert bench.store("a").rows == ()


def test_an_id_known_no_more_is_known_again(bench: Bench) -> None:
    bench.settle(bench.put("a"))
    bench.now_ms += 48 * HOUR_MS
    bench.settle(bench.put("a"))
    bench.now_ms += HOUR_MS
    assert bench.store("a").rows == ()


def test_a_mail_sent_again_is_the_first_copy(bench: Bench) -> None:
    bench.store("a", keys=[b"key"])
    again = bench.store("b", keys=[b"key"])
    assert (again.ids, again.rows) == (ids("a"), ())
    assert bench.counts() == Counters(accepted=2, suppressed=1)


def test_a_mail_sent_again_is_the_first_copy_even_when_that_is_done(bench: Bench) -> None:
    (row,) = bench.store("a", keys=[b"key"]).rows
    bench.settle(row)
    assert bench.store("b", keys=[b"key"]).ids == ids("a")


def test_one_mail_for_two_recipients_has_two_keys(bench: Bench) -> None:
    bench.store("a1", "a2", keys=[b"1", b"2"])
    again = bench.store("b1", "b2", "b3", keys=[b"1", b"2", b"3"])
    assert again.ids == ids("a1", "a2", "b3")
    assert len(again.rows) == 1


def test_no_key_is_no_duplicate(bench: Bench) -> None:
    assert len(bench.store("a", "b", keys=[b"", b""]).rows) == 2


def test_a_mail_whose_250_was_read_may_come_again(bench: Bench) -> None:
    bench.store("a", keys=[b"key"])
    bench.do(Acknowledged(ids=ids("a", "unknown")))
    assert bench.store("b", keys=[b"key"]).ids == ids("b")
    assert bench.store("c", keys=[b"key"]).ids == ids("b")


@pytest.mark.parametrize(("hours", "suppressed"), [(23.9, True), (24, False)])
def test_a_mail_may_come_again_after_24_hours(bench: Bench, hours: float, suppressed: bool) -> None:
    bench.store("a", keys=[b"key"])
    bench.now_ms += int(hours * HOUR_MS)
    assert (bench.store("b", keys=[b"key"]).ids == ids("a")) is suppressed


def test_a_suppressed_copy_published_again_gets_the_same_answer(bench: Bench) -> None:
    """Its confirmation was lost, and meanwhile the first copy's reply was read."""
    bench.store("a", keys=[b"key"])
    bench.store("b", keys=[b"key"])
    bench.do(Acknowledged(ids=ids("a")))
    assert bench.store("b", keys=[b"key"]) == Stored(ids("a"), ())


def test_a_late_note_leaves_the_key_of_a_later_mail(bench: Bench) -> None:
    bench.store("a", keys=[b"key"])
    bench.now_ms += 25 * HOUR_MS
    bench.store("b", keys=[b"key"])
    bench.do(Acknowledged(ids=ids("a")))
    assert bench.store("c", keys=[b"key"]).ids == ids("b")


def test_what_acts_on_something_held_counts_as_released(bench: Bench) -> None:
    bench.store("a", released=True)
    bench.store("a", released=True)
    assert bench.counts() == Counters(released=2, suppressed=1)


def test_operations_of_one_batch_see_each_other(bench: Bench) -> None:
    first, second, _, third = bench.do(
        make_store("a", keys=[b"key"]),
        make_store("b", keys=[b"key"]),
        Acknowledged(ids=ids("a")),
        make_store("c", keys=[b"key"]),
    )
    assert isinstance(first, Stored)
    assert isinstance(second, Stored)
    assert isinstance(third, Stored)
    assert (first.ids, second.ids, third.ids) == (ids("a"), ids("a"), ids("c"))


def test_a_row_may_be_changed_in_the_batch_that_made_it(bench: Bench) -> None:
    row = bench.put("a")
    bench.do(
        make_store("b", "c"),
        Write(row=row.row + 1, note=make_note(0)),
        Settle(row=row.row + 2, outputs=(make_output("d"),)),
    )
    now = bench.rows()
    assert [now[number].id for number in sorted(now)] == list(ids("a", "b", "d"))
    assert now[row.row + 1].begun_by == "outgoing-1:a"


# out ------------------------------------------------------------------------------------------------------------------


def test_a_settled_item_leaves_nothing_behind(bench: Bench) -> None:
    row = bench.put("a")
    bench.do(Write(row=row.row, note=make_note(0)))
    assert bench.settle(row, note=make_note(0, done=True)).done
    assert bench.rows() == {}
    assert bench.leftovers() == {"bodies": 0, "uses": 0, "notes": 0, "seen": 1, "keys": 0}
    assert bench.counts() == Counters(accepted=1, done=1)


def test_a_row_is_settled_once(bench: Bench) -> None:
    row = bench.put("a")
    bench.settle(row)
    again = bench.settle(row, make_output("b", 0), bodies=(b"late",))
    assert (again.done, again.rows) == (False, ())
    assert bench.rows() == {}
    assert bench.leftovers()["bodies"] == 0
    assert bench.counts() == Counters(accepted=1, done=1)


def test_a_held_post_counts_as_held_and_not_as_done(bench: Bench) -> None:
    bench.settle(bench.put("a"), held=True)
    assert bench.counts() == Counters(accepted=1, held=1)


def test_outputs_come_in_their_order_after_what_waits(bench: Bench) -> None:
    parent = bench.put("a")
    other = bench.put("b")
    rows = bench.settle(parent, make_output("x"), make_output("y", list_id=ListId("bee.example.org"))).rows
    assert [row.id for row in rows] == list(ids("x", "y"))
    assert all(row.place == row.row > other.row for row in rows)
    assert bench.counts(OUTGOING) == Counters(produced=2)


def test_an_output_into_the_same_queue_and_list_keeps_the_place(bench: Bench) -> None:
    parent = bench.put("range", queue=OUTGOING)
    bench.put("next post", queue=OUTGOING)
    slices = bench.settle(parent, make_output("slice 1"), make_output("rest")).rows
    assert {row.place for row in slices} == {parent.place}
    deeper = bench.settle(slices[1], make_output("slice 2")).rows
    assert deeper[0].place == parent.place
    assert [row.id for row in bench.journal.recover()] == list(ids("slice 1", "slice 2", "next post"))


@pytest.mark.parametrize("change", [{"queue": Queue("archive")}, {"list_id": ListId("bee.example.org")}])
def test_an_output_elsewhere_stands_at_the_end(bench: Bench, change: dict[str, Any]) -> None:
    parent = bench.put("a", queue=OUTGOING)
    (row,) = bench.settle(parent, make_output("b", **change)).rows
    assert row.place == row.row


def test_an_output_shares_content_and_recipients_of_its_parent(bench: Bench) -> None:
    first = bench.put("a", content=b"the post as it came")
    (ranged,) = bench.settle(first, make_output("r", recipients=0, part=(0, 2)), bodies=(b"anne, bart",)).rows
    slices = bench.settle(
        ranged, make_output("s1", recipients=-1, part=(0, 1)), make_output("s2", recipients=-1, part=(1, 2))
    ).rows
    for work in bench.journal.fetch([row.row for row in slices]):
        assert (work.content, work.recipients) == (b"the post as it came", b"anne, bart")
    assert [row.size for row in slices] == [19, 19]
    assert bench.leftovers()["bodies"] == 2
    bench.settle(slices[0])
    assert bench.leftovers()["bodies"] == 2
    bench.settle(slices[1])
    assert bench.leftovers()["bodies"] == 0


def test_a_body_that_outputs_share_is_stored_once_and_an_unused_one_never(bench: Bench) -> None:
    rows = bench.settle(
        bench.put("a"),
        make_output("x", 1, recipients=2),
        make_output("y", 1, recipients=2),
        make_output("z", 1, queue=Queue("archive")),
        bodies=(b"unused", b"edited", b"recipients"),
    ).rows
    assert bench.leftovers()["bodies"] == 2
    assert bench.leftovers()["uses"] == 5
    works = bench.journal.fetch([row.row for row in rows])
    assert [work.content for work in works] == [b"edited"] * 3
    assert [work.recipients for work in works] == [b"recipients", b"recipients", None]
    assert {row.size for row in rows} == {6}


def test_recipients_of_a_parent_without_any_are_none(bench: Bench) -> None:
    (row,) = bench.settle(bench.put("a"), make_output("b", recipients=-1)).rows
    (work,) = bench.journal.fetch([row.row])
    assert work.recipients is None


def test_an_output_that_is_here_already_is_suppressed(bench: Bench) -> None:
    first, second = bench.put("a"), bench.put("b")
    bench.settle(first, make_output("x", 0), bodies=(b"first",))
    assert bench.settle(second, make_output("x", 0), bodies=(b"second",)).rows == ()
    assert bench.counts(OUTGOING) == Counters(produced=2, suppressed=1)
    assert bench.leftovers()["bodies"] == 1


def test_an_output_may_be_due_later(bench: Bench) -> None:
    (row,) = bench.settle(bench.put("a"), make_output("b", due_at=DUE)).rows
    assert (row.state, row.due_ms) == (State.DEFERRED, DUE_MS)


def test_bodies_and_lists_may_be_empty(bench: Bench) -> None:
    row = bench.put("a", content=b"", list_id=ListId(""))
    bench.restart()
    (work,) = bench.journal.fetch([row.row])
    assert (work.content, work.item.list_id) == (b"", "")


# states ---------------------------------------------------------------------------------------------------------------


def test_a_deferred_item_remembers_why_and_until_when(bench: Bench) -> None:
    row = bench.put("a")
    bench.do(Defer(row=row.row, due_ms=DUE_MS, attempts=3, first_retry_ms=NOW_MS - 5, reason="store-away"))
    bench.restart()
    now = bench.row(row)
    assert (now.state, now.due_ms, now.attempts, now.first_retry_ms) == (
        State.DEFERRED,
        DUE_MS,
        3,
        NOW_MS - 5,
    )
    ((_, _, _, reason),) = bench.journal.find(row.id)
    assert reason == "store-away"


def test_blame_is_remembered(bench: Bench) -> None:
    row = bench.put("a")
    bench.do(Blame(row=row.row, crashes=2, suspect=True))
    bench.restart()
    assert (bench.row(row).crashes, bench.row(row).suspect) == (2, True)
    bench.do(Blame(row=row.row, crashes=2, suspect=False))
    assert bench.row(row).suspect is False


def test_a_shunted_item_is_listed_with_all_a_person_needs(bench: Bench) -> None:
    row = bench.put("a", message_id="<1@example.net>")
    bench.do(Blame(row=row.row, crashes=3, suspect=True))
    bench.do(Defer(row=row.row, due_ms=DUE_MS, attempts=5, first_retry_ms=NOW_MS, reason="slow"))
    bench.do(Shunt(row=row.row, reason="crash-loop", detail="Traceback ..."))
    bench.restart()
    (shunted,) = bench.journal.shunted(None, None, 0, 10)
    assert (shunted.row, shunted.item.id, shunted.item.message_id) == (row.row, row.id, "<1@example.net>")
    assert (shunted.reason, shunted.detail, shunted.at_ms) == ("crash-loop", "Traceback ...", NOW_MS)
    assert (shunted.attempts, shunted.crashes) == (5, 3)
    assert (bench.row(row).state, bench.row(row).due_ms) == (State.SHUNTED, 0)


def test_shunted_items_are_listed_in_pages_and_by_queue_and_list(bench: Bench) -> None:
    rows = [bench.put(str(n), list_id=ListId(f"l{n % 2}"), queue=Queue(f"q{n % 3}")) for n in range(6)]
    bench.do(*(Shunt(row=row.row, reason="x") for row in rows[:5]))
    numbers = [row.row for row in rows]

    def listed(queue: str | None, list_id: str | None, after: int = 0, limit: int = 10) -> list[int]:
        found = bench.journal.shunted(
            None if queue is None else Queue(queue),
            None if list_id is None else ListId(list_id),
            after,
            limit,
        )
        return [shunted.row for shunted in found]

    assert listed(None, None) == numbers[:5]
    assert listed(None, None, numbers[1], 2) == numbers[2:4]
    assert listed("q1", None) == [numbers[1], numbers[4]]
    assert listed(None, "l0") == [numbers[0], numbers[2], numbers[4]]
    assert listed("q1", "l0") == [numbers[4]]
    assert listed("none", None) == []


def test_a_released_item_starts_afresh_in_its_place(bench: Bench) -> None:
    row, other = bench.put("a"), bench.put("b")
    bench.do(Defer(row=row.row, due_ms=DUE_MS, attempts=5, first_retry_ms=NOW_MS, reason="slow"))
    bench.do(Blame(row=row.row, crashes=3, suspect=True), Shunt(row=row.row, reason="crash-loop"))
    (result,) = bench.do(Unshunt(rows=(row.row, other.row, 999)))
    assert result == (row,)
    assert bench.row(row) == row


def test_only_shunted_items_are_dropped(bench: Bench) -> None:
    row, other = bench.put("a"), bench.put("b")
    bench.do(Shunt(row=row.row, reason="x"))
    bench.do(Drop(rows=(row.row, row.row, other.row, 999)))
    assert list(bench.rows()) == [other.row]
    assert bench.counts() == Counters(accepted=2, dropped=1)
    assert bench.leftovers()["uses"] == 1


@pytest.mark.parametrize(
    "op",
    [
        Defer(row=7, due_ms=1, attempts=1, first_retry_ms=1, reason="x"),
        Blame(row=7, crashes=1, suspect=False),
        Shunt(row=7, reason="x"),
        Write(row=7, note=make_note(0)),
        Unshunt(rows=(7,)),
        Drop(rows=(7,)),
    ],
    ids=lambda op: type(op).__name__,
)
def test_a_row_that_is_gone_is_passed_over(bench: Bench, op: Op) -> None:
    assert bench.do(op)[0] in (None, ())
    assert bench.leftovers() == {"bodies": 0, "uses": 0, "notes": 0, "seen": 0, "keys": 0}


# notes ----------------------------------------------------------------------------------------------------------------


def test_a_begun_names_its_instance_until_it_is_done(bench: Bench) -> None:
    row = bench.put("a", queue=OUTGOING)
    bench.do(Write(row=row.row, note=make_note(0, instance="outgoing-2:b")))
    bench.restart()
    assert bench.row(row).begun_by == "outgoing-2:b"
    bench.do(Write(row=row.row, note=make_note(0, done=True)))
    assert bench.row(row).begun_by is None
    assert bench.leftovers()["notes"] == 1


def test_notes_travel_with_the_item_in_order(bench: Bench) -> None:
    row = bench.put("a", queue=OUTGOING)
    notes = (make_note(0, done=True), make_note(1, done=True), make_note(2))
    bench.do(*(Write(row=row.row, note=note) for note in (notes[2], notes[0])))
    bench.do(Write(row=row.row, note=notes[1]))
    bench.restart()
    assert bench.journal.fetch([row.row])[0].notes == notes
    assert bench.journal.find(row.id)[0][2] == notes


def test_the_last_begun_is_who_must_answer(bench: Bench) -> None:
    row = bench.put("a", queue=OUTGOING)
    bench.do(Write(row=row.row, note=make_note(0, instance="outgoing-1:a")))
    bench.do(Write(row=row.row, note=make_note(1, instance="outgoing-2:b")))
    assert bench.row(row).begun_by == Instance("outgoing-2:b")
    bench.do(Write(row=row.row, note=make_note(1, done=True)))
    assert bench.row(row).begun_by == Instance("outgoing-1:a")


def test_what_was_begun_does_not_wait_any_more(bench: Bench) -> None:
    """After a start it must not look like an item whose lease had ended: it is kept for the process that began it."""
    row = bench.put("a", queue=OUTGOING)
    bench.do(
        Defer(row=row.row, due_ms=bench.now_ms + 5, attempts=1, first_retry_ms=bench.now_ms, reason="away")
    )
    bench.do(Write(row=row.row, note=make_note(0, instance="outgoing-1:a")))
    bench.restart()
    assert (bench.row(row).state, bench.row(row).begun_by) == (State.READY, Instance("outgoing-1:a"))


def test_what_was_sent_is_never_forgotten_for_a_begun(bench: Bench) -> None:
    row = bench.put("a", queue=OUTGOING)
    bench.do(Write(row=row.row, note=make_note(0, done=True)), Write(row=row.row, note=make_note(0)))
    assert bench.journal.fetch([row.row])[0].notes == (make_note(0, done=True),)
    assert bench.row(row).begun_by is None


def test_notes_stay_while_the_item_is_set_aside_and_go_with_it(bench: Bench) -> None:
    row = bench.put("a", queue=OUTGOING)
    bench.do(Write(row=row.row, note=make_note(0)), Shunt(row=row.row, reason="x"))
    bench.do(Unshunt(rows=(row.row,)), Shunt(row=row.row, reason="x"))
    assert bench.journal.fetch([row.row])[0].notes == (make_note(0),)
    bench.do(Drop(rows=(row.row,)))
    assert bench.leftovers()["notes"] == 0


# questions ------------------------------------------------------------------------------------------------------------


def test_work_comes_in_the_order_asked_for_and_whole(bench: Bench) -> None:
    items = [make_item(str(n), args={"n": n}, reverse_path="zoë@example.org", hop=3) for n in range(100)]
    bench.do(*(make_store(item, content=item.id.encode()) for item in items))
    rows = list(bench.rows())
    bench.restart()
    works = bench.journal.fetch(rows[::-1])
    assert [work.item.id for work in works] == [item.id for item in items[::-1]]
    assert [work.content for work in works] == [item.id.encode() for item in items[::-1]]
    assert works[0].item.reverse_path == "zoë@example.org"
    assert bytes(works[0].item.args["n"]) == b"c"
    assert bench.journal.fetch([]) == []


def test_work_of_a_row_that_is_gone_is_a_mistake(bench: Bench) -> None:
    with pytest.raises(KeyError):
        bench.journal.fetch([1])


def test_an_item_is_found_by_id_root_and_message_id(bench: Bench) -> None:
    root = bench.put("a", message_id="<1@example.net>")
    (child,) = bench.settle(root, make_output("b", root_id=root.id, message_id="<1@example.net>")).rows
    other = bench.put("c", message_id="<2@example.net>")
    bench.restart()
    for text in (child.id, root.id, "<1@example.net>"):
        ((row, item, notes, reason),) = bench.journal.find(text)
        assert (row, item.id, item.root_id, notes, reason) == (child, child.id, root.id, (), "")
    assert [row for row, *_ in bench.journal.find(other.id)] == [other]
    for text in ("", "nobody", "ab", "0" * 32, other.id.upper()):
        assert bench.journal.find(text) == []


def test_existing_tells_what_is_here_in_any_state(bench: Bench) -> None:
    rows = [bench.put(str(n)) for n in range(3)]
    bench.do(Shunt(row=rows[0].row, reason="x"))
    bench.settle(rows[1])
    asked = (*ids("0", "1", "2", "3"), ItemId("not an id"))
    assert bench.journal.existing(asked) == frozenset(ids("0", "2"))
    assert bench.journal.existing(()) == frozenset()


def test_pauses_are_remembered(bench: Bench) -> None:
    bench.do(Pause(queue=OUTGOING, paused=True), Pause(queue=INCOMING, paused=True))
    bench.do(Pause(queue=OUTGOING, paused=True), Pause(queue=INCOMING, paused=False))
    bench.restart()
    assert bench.journal.paused() == {OUTGOING}


def test_counters_go_on_after_a_restart(bench: Bench) -> None:
    bench.settle(bench.put("a"), make_output("b"))
    bench.restart()
    bench.put("c")
    assert bench.journal.counters() == {
        INCOMING: Counters(accepted=2, done=1),
        OUTGOING: Counters(produced=1),
    }


def test_rows_come_in_order_of_place(bench: Bench) -> None:
    rows = [bench.put(str(n), queue=OUTGOING) for n in range(3)]
    bench.settle(rows[0], make_output("0a"), make_output("0b"))
    found = list(bench.journal.recover())
    assert [row.id for row in found] == list(ids("0a", "0b", "1", "2"))
    assert found == sorted(found, key=lambda row: (row.place, row.row))


def test_free_space_is_told_and_ballast_moves(bench: Bench) -> None:
    free, total = bench.journal.free_octets()
    assert 0 < free <= total
    for _ in range(2):
        bench.journal.give_up_ballast()
    for _ in range(2):
        bench.journal.restore_ballast()
    bench.put("a")


# trim -----------------------------------------------------------------------------------------------------------------


def test_trim_forgets_500_at_a_time_and_only_what_is_old(bench: Bench) -> None:
    names = [f"old {n}" for n in range(700)]
    rows = bench.store(*names, keys=[name.encode() for name in names]).rows
    bench.do(*(Settle(row=row.row) for row in rows))
    bench.now_ms += 47 * HOUR_MS
    bench.store("young", keys=[b"young"])
    bench.do(Trim())
    assert bench.leftovers()["seen"] == 701
    bench.now_ms += HOUR_MS
    bench.do(Trim())
    assert (bench.leftovers()["seen"], bench.leftovers()["keys"]) == (201, 201)
    bench.do(Trim(), Trim())
    assert (bench.leftovers()["seen"], bench.leftovers()["keys"]) == (1, 1)
    assert bench.store("young").rows == ()


def test_trim_leaves_a_key_that_a_later_mail_took_over(bench: Bench) -> None:
    bench.store("a", keys=[b"key"])
    bench.now_ms += 30 * HOUR_MS
    bench.store("b", keys=[b"key"])
    bench.now_ms += 20 * HOUR_MS
    bench.do(Trim())
    assert bench.leftovers()["seen"] == 1
    assert bench.store("c", keys=[b"key"]).ids == ids("b")


# life -----------------------------------------------------------------------------------------------------------------


def test_each_opening_has_an_epoch_of_its_own(bench: Bench) -> None:
    epochs = {bench.epoch}
    for _ in range(3):
        bench.restart()
        epochs.add(bench.epoch)
    assert len(epochs) == 4


def test_a_journal_has_one_owner(bench: Bench) -> None:
    with pytest.raises(Busy):
        bench.journal.open()
    bench.put("a")


def test_a_journal_that_is_not_open_does_nothing(bench: Bench) -> None:
    bench.journal.close()
    bench.journal.close()
    with pytest.raises(RuntimeError):
        bench.journal.apply([], NOW_MS)


def test_a_row_number_never_comes_again(bench: Bench) -> None:
    last = bench.put("a")
    bench.settle(last)
    bench.restart()
    assert bench.put("b").row > last.row


def test_everything_is_there_after_a_restart(bench: Bench) -> None:
    rows = [bench.put(str(n)) for n in range(4)]
    bench.settle(rows[0], make_output("x", recipients=0, part=(0, 1)), bodies=(b"anne",))
    bench.do(Shunt(row=rows[1].row, reason="x"), Write(row=rows[2].row, note=make_note(0)))
    bench.do(Defer(row=rows[3].row, due_ms=DUE_MS, attempts=1, first_retry_ms=NOW_MS, reason="y"))
    before = bench.rows()
    works = bench.journal.fetch(list(before))
    leftovers = bench.leftovers()
    bench.restart()
    assert bench.rows() == before
    assert bench.journal.fetch(list(before)) == works
    assert bench.leftovers() == leftovers


def test_what_the_caller_was_given_is_the_callers(bench: Bench) -> None:
    row = bench.put("a")
    row.attempts = 99
    bench.journal.counters()[INCOMING].done = 99
    assert bench.row(row).attempts == 0
    assert bench.counts().done == 0


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (make_store(make_item("a", id="X" * 32)), "is not an id"),
        (make_store(make_item("a", root_id="abc")), "is not a root id"),
        (make_store("a", "b", keys=[b"one"]), "2 items have 1 content keys"),
        (Settle(row=1, outputs=(make_output("x", 1),), bodies=(b"",)), "a body that was not sent"),
        (
            Settle(row=1, outputs=(make_output("x", 0, recipients=1),), bodies=(b"",)),
            "a body that was not sent",
        ),
        (Settle(row=1, outputs=(make_output("x", -2),)), "a body that was not sent"),
        (Settle(row=1, outputs=(make_output("x", id="x"),)), "is not an id"),
        (Acknowledged(ids=(ItemId("x"),)), "is not an id"),
        (Write(row=1, note=make_note(-1)), "is not the number of a note"),
        (Write(row=1, note=make_note(2**63)), "is not the number of a note"),
    ],
)
def test_a_mistake_of_the_caller_changes_nothing(bench: Bench, op: Op, text: str) -> None:
    bench.put("first")
    before = bench.rows()
    with pytest.raises(ValueError, match=text):
        bench.do(make_store("second"), op)
    assert bench.rows() == before
    assert bench.put("third").row == max(before) + 1


def test_a_time_without_a_zone_is_utc(bench: Bench) -> None:
    row = bench.put("a", accepted_at=datetime(1, 1, 1))  # noqa: DTZ001 - a client's bug must not stop the bus
    assert row.accepted_ms == -62135596800000


def test_an_empty_batch_and_an_empty_publish_are_fine(bench: Bench) -> None:
    assert bench.do() == []
    assert bench.do(Store(items=(), content=b"x")) == [Stored((), ())]
    assert bench.leftovers()["bodies"] == 0
