"""What new mail may come in."""

from bus.flow import FlowGauge, Marks
from bus.journal.api import Row, State
from bus.messages import Flow
from bus.order import QueueOrder
from config.names import INCOMING, OUTGOING, OWNER, ItemId, ListId, Queue

MIB = 2**20
MARKS = Marks(
    max_items=10,
    max_bytes=1000,
    min_free=100 * MIB,
    min_memory=100 * MIB,
    addressed=frozenset({INCOMING, OWNER}),
)


def make_queue(queue: Queue, items: int, size: int = 1) -> QueueOrder:
    order = QueueOrder(queue)
    for row in range(items):
        order.add(
            Row(
                row=row,
                id=ItemId(f"{row:032x}"),
                queue=queue,
                list_id=ListId(""),
                place=row,
                state=State.READY,
                size=size,
            ),
            0,
        )
    return order


def look(gauge: FlowGauge, *orders: QueueOrder) -> Flow:
    gauge.look_at_queues(orders)
    gauge.decide(is_journal_stuck=False)
    return gauge.flow


def test_a_queue_over_its_mark_closes_and_opens_again_at_80_percent() -> None:
    gauge = FlowGauge(MARKS)
    assert look(gauge, make_queue(OWNER, 10)) == Flow()
    assert look(gauge, make_queue(OWNER, 11)) == Flow(full=(OWNER,))
    assert look(gauge, make_queue(OWNER, 9)) == Flow(full=(OWNER,))
    assert look(gauge, make_queue(OWNER, 8)) == Flow()


def test_octets_count_too() -> None:
    gauge = FlowGauge(MARKS)
    assert look(gauge, make_queue(OWNER, 2, 501)) == Flow(full=(OWNER,))
    assert look(gauge, make_queue(OWNER, 1, 801)) == Flow(full=(OWNER,))
    assert look(gauge, make_queue(OWNER, 1, 800)) == Flow()


def test_a_queue_without_addresses_stops_the_leasing_of_incoming_instead() -> None:
    gauge = FlowGauge(MARKS)
    assert look(gauge, make_queue(OUTGOING, 11)) == Flow()
    assert gauge.stopped == {INCOMING}
    look(gauge, make_queue(OUTGOING, 8))
    assert gauge.stopped == frozenset()


def test_the_disk_stops_everything_until_there_is_a_quarter_more() -> None:
    gauge = FlowGauge(MARKS)
    total = 10_000 * MIB
    states = []
    for free in (100 * MIB, 100 * MIB - 1, 125 * MIB - 1, 125 * MIB):
        gauge.look_at_disk(free, total, is_failing=False)
        changed = gauge.decide(is_journal_stuck=False)
        states.append((gauge.flow.state, gauge.flow.reason, changed))
    assert states == [("ok", "", False), ("stop", "disk", True), ("stop", "disk", False), ("ok", "", True)]


def test_on_a_small_disk_the_mark_is_a_tenth_of_it() -> None:
    gauge = FlowGauge(MARKS)
    gauge.look_at_disk(4 * MIB, 32 * MIB, is_failing=False)
    assert not gauge.decide(is_journal_stuck=False)
    gauge.look_at_disk(3 * MIB, 32 * MIB, is_failing=False)
    assert gauge.decide(is_journal_stuck=False)


def test_what_does_not_fit_stops_whatever_the_disk_says() -> None:
    gauge = FlowGauge(MARKS)
    gauge.look_at_disk(10_000 * MIB, 20_000 * MIB, is_failing=True)
    gauge.decide(is_journal_stuck=False)
    assert gauge.flow.reason == "disk"


def test_a_stuck_journal_stops_while_it_is_stuck() -> None:
    gauge = FlowGauge(MARKS)
    assert gauge.decide(is_journal_stuck=True)
    assert gauge.flow == Flow(state="stop", reason="journal")
    assert gauge.decide(is_journal_stuck=False)
    assert gauge.flow == Flow()


def test_mail_under_way_is_refused_only_far_above_the_mark() -> None:
    gauge = FlowGauge(MARKS)
    assert not gauge.is_above_all(make_queue(OWNER, 12))
    assert gauge.is_above_all(make_queue(OWNER, 13))
    assert gauge.is_above_all(make_queue(OWNER, 1, 1251))


def test_memory_stops_everything_until_there_is_a_quarter_more() -> None:
    """What is refused in time needs no process to be killed."""
    gauge = FlowGauge(MARKS)
    reasons = []
    for available in (100 * MIB, 100 * MIB - 1, 125 * MIB - 1, 125 * MIB):
        gauge.look_at_memory(available)
        gauge.decide(is_journal_stuck=False)
        reasons.append((gauge.flow.state, gauge.flow.reason))
    assert reasons == [("ok", ""), ("stop", "memory"), ("stop", "memory"), ("ok", "")]


def test_mail_is_delayed_more_and_more_before_it_is_refused() -> None:
    """And less only when a fifth of each step is gone, so that front-ends are not told ten times a second."""
    gauge = FlowGauge(MARKS)
    delays = []
    for load in (0.0, 0.24, 0.25, 0.21, 0.5, 0.41, 0.39, 0.8, 0.61, 0.59, 0.19):
        gauge.look_at_load(load)
        gauge.decide(is_journal_stuck=False)
        delays.append(gauge.flow.delay_ms)
    assert delays == [0, 0, 250, 250, 500, 500, 250, 1000, 1000, 500, 0]
    assert gauge.flow.state == "ok"


def test_front_ends_are_told_how_many_share_the_limits() -> None:
    """Nobody is one."""
    gauge = FlowGauge(MARKS)
    assert not gauge.decide(is_journal_stuck=False, fronts=0)
    assert gauge.decide(is_journal_stuck=False, fronts=3)
    assert gauge.flow == Flow(fronts=3)
