"""What a client says is read here, checked, and brought to the part that does it.

A message that makes no sense is answered with Problem, logged, and changes nothing.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bus import messages
from bus.answers import Answers
from bus.attendance import Attendance
from bus.hub import Hub
from bus.intake import Intake
from bus.messages import (
    Ack,
    Acks,
    Ask,
    Beat,
    Bye,
    FromClient,
    Gone,
    Hello,
    Living,
    Problem,
    Progress,
    Publish,
    Replied,
    Retry,
    Return,
    SetAside,
)
from bus.peers import Peer
from bus.settling import Settling
from config.names import Instance

PUB, WORK = b"P", b"W"  # first octet of an identity in here: the socket that it came from
_ROLES = {PUB: ("front", "admin"), WORK: ("runner", "master", "admin")}
_ALL = ("front", "runner", "master", "admin")
_MAY: dict[type, tuple[str, ...]] = {
    Publish: ("front", "admin"),
    Replied: ("front",),
    Beat: _ALL,
    Bye: _ALL,
    Ack: ("runner",),
    Acks: ("runner",),
    Retry: ("runner",),
    SetAside: ("runner",),
    Progress: ("runner",),
    Return: ("runner",),
    Gone: ("master",),
    Living: ("master",),
    Ask: ("admin", "master", "runner"),
}

Handler = Callable[[Peer, Any, Sequence[bytes]], None]


class Requests:
    """Routes the messages of clients; one object for one life of the bus."""

    def __init__(self, hub: Hub, own: Instance) -> None:
        self._hub = hub
        self.attendance = Attendance(hub, own)
        intake, settling, answers = Intake(hub), Settling(hub), Answers(hub)
        self._handlers: dict[type, Handler] = {
            Publish: intake.publish,
            Replied: intake.replied,
            Beat: self.attendance.beat,
            Bye: self.attendance.bye,
            Gone: self.attendance.gone,
            Living: self.attendance.living,
            Ack: settling.ack,
            Acks: settling.acks,
            Retry: settling.retry,
            SetAside: settling.set_aside,
            Progress: settling.progress,
            Return: settling.give_back,
            Ask: answers.ask,
        }

    def take(self, frames: list[bytes], socket: bytes) -> None:
        """Do what one message asks; `frames` are as the ROUTER gave them, `socket` is PUB or WORK."""
        identity = socket + frames[0]
        peer = self._hub.peers.hear(identity, time.monotonic())
        try:
            message: FromClient = messages.decode_from_client(frames[1] if len(frames) > 1 else b"")
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._object(identity, peer, "undecodable", str(error))
            return
        if isinstance(message, Hello):
            if message.role in _ROLES[socket]:
                self.attendance.hello(identity, message)
            else:
                self._object(identity, peer, "role", f"this socket is not for the role {message.role!r}")
        elif peer is None:
            self._hub.post.answer(identity, Problem("hello", "say hello first"))
        elif peer.role not in _MAY[type(message)]:
            self._object(identity, peer, "role", f"{type(message).__name__} is not for a {peer.role}")
        else:
            if peer.is_silent:
                self.attendance.hear_again(peer)
            self._handlers[type(message)](peer, message, frames[2:])

    def _object(self, identity: bytes, peer: Peer | None, code: str, text: str) -> None:
        name = peer.name if peer else ""
        self._hub.log.warning("bus.problem", code=code, text=text[:500], client=name)
        self._hub.post.answer(identity, Problem(code, text[:500]))
