"""Waiting for a fact with a deadline: the only way a test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None], timeout_s: float = 10.0, *, what: str = "", every_s: float = 0.02
) -> T:
    """Call `condition` until it says something true and return that; fails the test when `timeout_s` is over."""
    deadline = time.monotonic() + timeout_s
    while True:
        if found := condition():
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what or condition}"
        time.sleep(every_s)
