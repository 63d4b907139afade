"""Whether everything that came in is somewhere (DESIGN P6). Pure.

accepted + produced + released = done + dropped + suppressed + held + ready + leased + deferred + shunted, per queue.
The counters are rows of the journal, the gauges are counted from the items; a difference is a bug, never a matter of time.
"""

from bus.journal.api import Counters


def imbalance(counters: Counters, items: int) -> int:
    """Return how many items the journal's counters claim and nobody has; below zero: have and nobody counted."""
    came_in = counters.accepted + counters.produced + counters.released
    went_out = counters.done + counters.dropped + counters.suppressed + counters.held
    return came_in - went_out - items
