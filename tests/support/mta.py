"""What the launchers of all MTAs share: the skip that is a failure in CI, waiting for a greeting, and what a test may ask of each."""

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

START_S = 20.0

Route = int | Path  # where mail for a domain goes by LMTP: a port of 127.0.0.1, or a unix socket


class Mta(Protocol):
    """One instance that runs."""

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 where it takes mail by SMTP."""

    def queued(self) -> list[str]:
        """Return the names of the mail that it has not got rid of."""

    def lines(self, pattern: str) -> list[str]:
        """Return the lines of its log that match."""


def cannot(reason: str) -> None:
    """Skip the test on a laptop and fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def wait_for_banner(port: int, is_alive: Callable[[], bool]) -> bool:
    """Wait until somebody greets at a port of 127.0.0.1; False when the MTA has died or START_S are over."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and is_alive():
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                if connection.recv(512).startswith(b"220"):
                    connection.sendall(b"QUIT\r\n")
                    return True
        except OSError:
            time.sleep(0.02)  # nobody tells when a port opens
    return False
