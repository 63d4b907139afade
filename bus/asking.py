"""The bus for programs without an event loop: bin/postroom asks, orders and publishes, one call and one connection each.

While the bus is away nothing is queued for ever: each call ends within its time. An order that was sent and not answered may
have been carried out; all of them may be given again.
"""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zmq

from bus import messages
from bus.connection import Away
from bus.front import AGAIN_S, PublishRefused
from bus.messages import (
    Answer,
    Ask,
    Bye,
    Confirmed,
    FromBus,
    FromClient,
    Hello,
    Item,
    Problem,
    Publish,
    Refused,
)
from bus.sockets import connect, receive, send
from config.names import Instance, ItemId
from config.settings import Settings

POLL_MS = 50


class BusError(Exception):
    """The bus understood and will not: its reason is for a person."""


def ask(settings: Settings, what: str, *, timeout_s: float = 5.0, **args: Any) -> Any:
    """Ask or order one thing (messages.QUESTIONS); raises Away or BusError."""
    return ask_with_content(settings, what, timeout_s=timeout_s, **args)[0]


def ask_with_content(
    settings: Settings, what: str, *, timeout_s: float = 5.0, **args: Any
) -> tuple[Any, bytes]:
    """Ask, and return the content that comes with the answer too, b"" when none does."""
    with _Line(settings, "work.sock", timeout_s) as line:
        for message, bodies in line.talk(Ask(what=what, args=args, number=1)):
            if isinstance(message, Answer) and message.number == 1:
                if message.error:
                    raise BusError(message.error)
                return message.data, bodies[0] if bodies else b""
    raise Away(f"the bus did not answer within {timeout_s} s")


def publish_now(
    settings: Settings,
    items: Sequence[Item],
    content: bytes,
    *,
    released: bool = False,
    timeout_s: float = 30.0,
) -> tuple[ItemId, ...]:
    """Publish items that share one content; returns the id under which each is durably stored.

    `released`: they act on something held. Raises Away or PublishRefused.
    """
    with _Line(settings, "pub.sock", timeout_s) as line:
        for message, _ in line.talk(Publish(items=tuple(items), released=released), (content,), AGAIN_S):
            if isinstance(message, Confirmed) and items[0].id in message.results:
                return message.results[items[0].id]
            if isinstance(message, Refused) and message.id == items[0].id:
                raise PublishRefused(message.kind, message.reason)
    raise Away(f"the bus did not confirm within {timeout_s} s")


class _Line:
    """A connection for one question."""

    def __init__(self, settings: Settings, socket: str, timeout_s: float) -> None:
        self._path = Path(settings.site.run) / socket
        self._deadline = time.monotonic() + timeout_s
        name = f"postroom-{os.getpid()}"
        instance = Instance(f"{name}:{secrets.token_hex(4)}")
        self._hello = Hello(role="admin", name=name, instance=instance, pid=os.getpid())

    def __enter__(self) -> "_Line":
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = connect(self._context, self._path)
        return self

    def __exit__(self, *_: object) -> None:
        self._say(Bye())
        self._socket.close(linger=100)
        self._context.term()

    def talk(
        self, message: FromClient, bodies: Sequence[bytes] = (), again_s: float = float("inf")
    ) -> Iterator[tuple[FromBus, list[bytes]]]:
        """Say this, again after `again_s`, and give what is answered until the time is over."""
        said_at = float("-inf")
        while (now := time.monotonic()) < self._deadline:
            if now - said_at >= again_s or said_at < 0:
                said_at = now if self._say(self._hello) and self._say(message, bodies) else float("-inf")
            if not self._socket.poll(POLL_MS):
                continue
            while (frames := receive(self._socket)) is not None:
                answer = messages.decode_from_bus(frames[0])
                if isinstance(answer, Problem):  # the bus has started anew in between
                    said_at = float("-inf")
                else:
                    yield answer, frames[1:]

    def _say(self, message: FromClient, bodies: Sequence[bytes] = ()) -> bool:
        return send(self._socket, (messages.encode(message), *bodies))
