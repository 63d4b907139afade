"""Whether everything that came in is somewhere, and what is kept for its first lease."""

from bus import fresh
from bus.books import imbalance
from bus.fresh import Fresh
from bus.journal.api import Counters, Work
from tests.support.bus_process import make_item


def test_what_came_in_has_gone_out_or_is_here() -> None:
    counters = Counters(accepted=10, produced=3, released=1, done=4, dropped=1, suppressed=2, held=1)
    assert imbalance(counters, 6) == 0
    assert imbalance(counters, 5) == 1
    assert imbalance(counters, 8) == -2


def test_the_newest_items_are_kept_up_to_a_number_of_octets() -> None:
    kept = Fresh()
    half = fresh.MAX_OCTETS // 2
    works = [Work(item=make_item(), content=bytes(half), recipients=None, notes=()) for _ in range(3)]
    for row, work in enumerate(works):
        kept.put(row, work)
    assert [kept.take(row) is not None for row in range(3)] == [False, True, True]
    assert kept.take(2) is None
    kept.put(9, Work(item=make_item(), content=bytes(half), recipients=bytes(half + 1), notes=()))
    assert kept.take(9) is None
