"""Kills processes of a site at random, as the kernel or an operator would: SIGKILL, no warning.

The choice comes from a seed that a failed test shows, but the moment within a process's work does not: each run tries other moments.
"""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Sequence

from msgspec import Struct

from config.settings import Settings
from master import control

EVERY_S = (0.3, 1.5)  # between two kills; a child that was ready is started again at most once a second


class Kill(Struct, frozen=True):
    """One process that was ended."""

    name: str  # "outgoing-1"
    pid: int
    at_s: float  # monotonic


class Killer:
    """A thread that ends one of `names` now and then while the context lasts."""

    def __init__(self, settings: Settings, names: Sequence[str], seed: int) -> None:
        self.kills: list[Kill] = []
        self._settings = settings
        self._names = names
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="killer")

    def __enter__(self) -> "Killer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(self._random.uniform(*EVERY_S)):
            name = self._random.choice(self._names)
            pid = self._pid_of(name)
            if pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.kills.append(Kill(name, pid, time.monotonic()))

    def _pid_of(self, name: str) -> int | None:
        """Ask master; None while the process is not there or master is busy with the last kill."""
        try:
            status = control.call(self._settings, {"do": "status"})
        except control.MasterAway:
            return None
        return next((one["pid"] for one in status["processes"] if one["name"] == name), None)
