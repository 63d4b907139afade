"""The order of one queue."""

from bus.journal.api import Row, State
from bus.order import HOLD_MS, RUN_OCTETS, Entry, QueueOrder, Where
from config.names import ItemId, ListId, Queue

NOW_MS = 1_800_000_000_000
QUEUE = Queue("incoming")


class Rows:
    """Makes rows with numbers that rise."""

    def __init__(self) -> None:
        self.last = 0

    def make(self, list_id: str = "a", **fields: object) -> Row:
        self.last += 1
        values: dict[str, object] = {"place": self.last, "state": State.READY, "size": 10, **fields}
        return Row(
            row=self.last,
            id=ItemId(f"{self.last:032x}"),
            queue=QUEUE,
            list_id=ListId(list_id),
            **values,  # type: ignore[arg-type]
        )


def take_next(order: QueueOrder) -> Entry | None:
    lane = order.next_lane()
    return order.take(lane) if lane is not None else None


def drain(order: QueueOrder) -> list[int]:
    """Handle everything at once; returns the rows in the order in which they were taken."""
    taken = []
    while entry := take_next(order):
        taken.append(entry.row.row)
        order.remove(entry)
    return taken


def test_one_list_is_handled_one_at_a_time_in_order() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    entries = [order.add(rows.make(), NOW_MS) for _ in range(3)]
    assert take_next(order) is entries[0]
    assert take_next(order) is None
    order.remove(entries[0])
    assert take_next(order) is entries[1]


def test_lists_take_turns() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    for list_id in "aaaabbc":
        order.add(rows.make(list_id), NOW_MS)
    assert drain(order) == [1, 5, 7, 2, 6, 3, 4]


def test_an_item_without_a_list_waits_for_nobody() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    for _ in range(3):
        order.add(rows.make(""), NOW_MS)
    assert [take_next(order) is not None for _ in range(4)] == [True, True, True, False]


def test_an_output_in_its_parents_place_goes_before_what_came_later() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    first = order.add(rows.make(), NOW_MS)
    order.add(rows.make(), NOW_MS)
    assert take_next(order) is first
    order.remove(first)
    order.add(rows.make(place=first.row.place), NOW_MS)
    assert drain(order) == [3, 2]


def test_a_retry_keeps_its_list_for_30_s_and_then_steps_aside() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    first, second = order.add(rows.make(), NOW_MS), order.add(rows.make(), NOW_MS)
    assert take_next(order) is first
    order.put_off(first, NOW_MS + 100_000, 1, NOW_MS, NOW_MS)
    assert (first.where, first.wake_ms) == (Where.HELD, NOW_MS + HOLD_MS)
    assert take_next(order) is None
    order.wake(first, NOW_MS + HOLD_MS)
    assert (first.where, first.wake_ms) == (Where.ASIDE, NOW_MS + 100_000)
    assert take_next(order) is second
    order.wake(first, NOW_MS + 100_000)
    order.remove(second)
    assert take_next(order) is first


def test_a_series_of_retries_keeps_its_list_for_30_s_in_all() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    first, second = order.add(rows.make(), NOW_MS), order.add(rows.make(), NOW_MS)
    assert take_next(order) is first
    order.put_off(first, NOW_MS + 50_000, 2, NOW_MS - HOLD_MS, NOW_MS)
    assert first.where is Where.ASIDE
    assert take_next(order) is second


def test_where_order_is_strict_a_retry_keeps_its_place_to_the_end() -> None:
    order, rows = QueueOrder(QUEUE, is_strict=True), Rows()
    first = order.add(rows.make(), NOW_MS)
    order.add(rows.make(), NOW_MS)
    take_next(order)
    order.put_off(first, NOW_MS + 10**6, 3, NOW_MS - 10**6, NOW_MS)
    assert (first.where, first.wake_ms) == (Where.HELD, NOW_MS + 10**6)
    assert take_next(order) is None
    order.wake(first, NOW_MS + 10**6)
    assert drain(order) == [1, 2]


def take_run(order: QueueOrder, most: int = 10) -> list[int]:
    lane = order.next_lane()
    return [] if lane is None else [entry.row.row for entry in order.take_run(lane, most)]


def test_a_run_is_the_first_items_of_a_list_and_the_list_waits_for_all_of_it() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    entries = [order.add(rows.make(), NOW_MS) for _ in range(5)]
    order.add(rows.make("b"), NOW_MS)
    assert take_run(order, 3) == [1, 2, 3]
    assert take_run(order, 3) == [6]
    assert take_run(order, 3) == []
    order.remove(entries[0])
    order.remove(entries[2])
    assert take_run(order, 3) == [], "the second is still in hand"
    order.remove(entries[1])
    assert take_run(order, 3) == [4, 5]


def test_what_a_run_gives_back_is_taken_again_in_order() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    entries = [order.add(rows.make(), NOW_MS) for _ in range(4)]
    take_run(order, 3)
    order.give_back(entries[2])
    order.give_back(entries[1])
    assert take_run(order) == [], "the first is still in hand"
    order.put_off(entries[0], NOW_MS + 10_000, 1, NOW_MS, NOW_MS)
    assert entries[0].where is Where.HELD
    assert take_run(order) == []
    order.wake(entries[0], NOW_MS + 10_000)
    assert take_run(order) == [1], "what has failed goes alone"
    order.remove(entries[0])
    assert take_run(order) == [2, 3, 4]


def test_what_has_failed_is_suspect_or_is_large_ends_a_run() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    for fields in ({}, {}, {"attempts": 1}, {}, {"suspect": True}, {}, {"size": RUN_OCTETS}, {}):
        order.add(rows.make(**fields), NOW_MS)
    found = []
    for _ in range(7):
        lane = order.next_lane() or order.next_apart()
        run = [] if lane is None else order.take_run(lane, 10)
        found.append([entry.row.row for entry in run])
        for entry in run:
            order.remove(entry)
    assert found == [[1, 2], [3], [4], [5], [6], [7], [8]]


def test_items_without_a_list_are_in_no_run() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    for _ in range(3):
        order.add(rows.make(""), NOW_MS)
    assert [take_run(order) for _ in range(3)] == [[1], [2], [3]]


def test_what_is_due_later_keeps_nobody_waiting_even_where_order_is_strict() -> None:
    order, rows = QueueOrder(QUEUE, is_strict=True), Rows()
    later = order.add(rows.make(state=State.DEFERRED, due_ms=NOW_MS + 10**9), NOW_MS)
    order.add(rows.make(), NOW_MS)
    assert (later.where, later.wake_ms) == (Where.ASIDE, NOW_MS + 10**9)
    assert drain(order) == [2]
    order.wake(later, NOW_MS + 10**9)
    assert drain(order) == [1]


def test_a_suspect_stands_apart_and_its_list_waits_with_it() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    suspect = order.add(rows.make(suspect=True), NOW_MS)
    order.add(rows.make(), NOW_MS)
    other = order.add(rows.make("b"), NOW_MS)
    assert take_next(order) is other
    assert take_next(order) is None
    lane = order.next_apart()
    assert lane is not None
    assert order.take(lane) is suspect
    assert order.next_apart() is None


def test_a_claim_takes_an_item_out_of_the_middle() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    entries = [order.add(rows.make(), NOW_MS) for _ in range(3)]
    assert order.claim(entries[1])
    assert not order.claim(entries[0])  # its list has one in hand
    order.remove(entries[1])
    assert drain(order) == [1, 3]


def test_octets_are_those_of_what_waits() -> None:
    order, rows = QueueOrder(QUEUE), Rows()
    order.add(rows.make(state=State.SHUNTED), NOW_MS)
    entry = order.add(rows.make(), NOW_MS)
    assert order.octets == 10
    order.take(order.next_lane() or entry.lane)
    order.shunt(entry)
    assert (order.octets, len(order.live), len(order.shunted)) == (0, 0, 2)
    order.remove(entry)
    assert len(order.shunted) == 1
