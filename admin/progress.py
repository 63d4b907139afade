"""Telling a person how far a long command is."""

import sys
import time
from collections.abc import Callable

PROGRESS_S = 0.5  # between two words about progress


class Progress:
    """Tells how many of how many are done, or how many where the whole is not known: in place on a terminal, in lines when asked for, else not at all."""

    def __init__(self, is_wanted: bool) -> None:
        self._in_place = sys.stderr.isatty()
        self._is_on = is_wanted or self._in_place
        self._told = time.monotonic()

    def __enter__(self) -> Callable[..., None]:
        return self._tell

    def _tell(self, done: int, total: int | None = None) -> None:
        if self._is_on and (done == total or time.monotonic() - self._told >= PROGRESS_S):
            self._told = time.monotonic()
            count = str(done) if total is None else f"{done} of {total}"
            sys.stderr.write(f"\r{count}" if self._in_place else f"{count}\n")
            sys.stderr.flush()

    def __exit__(self, *_: object) -> None:
        if self._is_on and self._in_place:
            sys.stderr.write("\n")
