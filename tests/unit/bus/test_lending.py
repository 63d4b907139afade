"""When what waits is lent: at once after a silence, else with what comes in the next few milliseconds."""

from collections import deque
from types import SimpleNamespace
from typing import Any

import pytest

from bus.lending import GATHER_S, MUCH, Lending
from config.names import INCOMING, OUTGOING, Instance, Queue

RUNS, SINGLE = Instance("incoming-1:1"), Instance("outgoing-1:1")


class Site:
    """One worker that takes runs, one that does not, and what the dispatch was told to leave alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.orders = {
            queue: SimpleNamespace(turns=deque(["a list"]), live={1: ""}) for queue in (INCOMING, OUTGOING)
        }
        self.rested: list[frozenset[Queue]] = []
        dispatch = SimpleNamespace(
            workers={
                RUNS: SimpleNamespace(run=16, queue=INCOMING),
                SINGLE: SimpleNamespace(run=1, queue=OUTGOING),
            },
            order_of=lambda queue: self.orders[queue],
            grant=self._grant,
        )
        hub: Any = SimpleNamespace(
            dispatch=dispatch,
            flow=SimpleNamespace(stopped=frozenset()),
            fresh=SimpleNamespace(take=lambda row: None),
            committer=SimpleNamespace(fetch=lambda rows, then: None),
        )
        self.lending = Lending(hub)
        monkeypatch.setattr("bus.lending.time.monotonic", lambda: self.now)

    def _grant(self, *, stopped: frozenset[Queue]) -> list[SimpleNamespace]:
        self.rested.append(stopped)
        places = ((RUNS, INCOMING), (SINGLE, OUTGOING))
        return [
            SimpleNamespace(instance=instance, row=1, turn=number)
            for number, (instance, queue) in enumerate(places)
            if queue not in stopped
        ]

    def hand_out(self, after_s: float) -> frozenset[Queue]:
        self.now += after_s
        self.lending.hand_out()
        return self.rested[-1]


def test_the_first_goes_at_once_and_the_next_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    assert site.hand_out(0) == frozenset()
    assert site.lending.pause_s is None
    assert site.hand_out(GATHER_S / 4) == {INCOMING}  # who takes no runs waits for nobody
    assert site.lending.pause_s == pytest.approx(GATHER_S * 3 / 4)
    assert site.hand_out(GATHER_S / 2) == {INCOMING}
    assert site.hand_out(GATHER_S / 2) == frozenset()
    assert site.lending.pause_s is None


def test_nobody_waits_where_nothing_is_there_or_much(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(monkeypatch)
    site.hand_out(0)
    site.orders[INCOMING].turns.clear()
    assert site.hand_out(GATHER_S / 4) == frozenset()
    assert site.lending.pause_s is None
    site = Site(monkeypatch)
    site.hand_out(0)
    site.orders[INCOMING].live = dict.fromkeys(range(MUCH), "")
    assert site.hand_out(GATHER_S / 4) == frozenset()
