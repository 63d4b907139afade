"""Stand-ins for what lmtp/ports.py names, and a way to hold a whole dialogue without a socket.

The real Directory and Front are used by tests/processes; here a list is one line, and the bus keeps what it is given.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from structlog.testing import CapturingLogger

from bus.client import Away, Done, PublishRefused
from bus.messages import Flow, Item
from config.clock import Clock
from config.lmtp_settings import LmtpSettings
from config.names import INCOMING, ItemId, ListId, Queue
from config.settings import Settings, SiteSettings
from lists.address import Destination
from lists.policy import NOT_A_MEMBER, UNKNOWN_LIST, Refused, Taken
from lists.posts import Post
from lists.rules.verdicts import TOO_BIG
from lmtp import replies
from lmtp.addresses import parse_odd
from lmtp.client import Client
from lmtp.dialogue import Dialogue
from lmtp.peers import Peer
from lmtp.replies import Reply
from lmtp.service import Service
from lmtp.states import Assure, Delay, Pause, Publish, Secure
from lmtp.tls import Security

GREETING = b"220 lists.example.org LMTP\r\n"
PEER = Peer("192.0.2.1")
LHLO = b"LHLO mx.example.net\r\n"
LINES_OF_LHLO = 7


class Lists:
    """ant@ takes everybody, closed@ only member@, small@ 100 octets, QUEUE@ whatever stands in `queues`; the rest is unknown."""

    def __init__(self) -> None:
        self.known = {"ant", "closed", "small", "bee"}
        self.queues: dict[str, Queue] = {}
        self.error: Exception | None = None
        self.broken: set[str] = set()  # lists one of whose rules raises
        self.judged: list[str] = []
        self.asked_data: list[str] = []  # names of the lists that were asked after the dot

    def judge(self, reverse_path: str, recipient: str) -> Taken | Refused:
        if self.error is not None:
            raise self.error
        self.judged.append(recipient)
        name = recipient.partition("@")[0].lower()
        if name not in self.known:
            return UNKNOWN_LIST
        if name == "closed" and reverse_path not in ("", "member@example.net"):
            return NOT_A_MEMBER
        queue = self.queues.get(name, INCOMING)
        rule = "member" if name == "closed" and reverse_path else "test"
        return Taken(Destination(ListId(f"{name}.example.org"), queue, "post", "", name), rule)

    def judge_data(self, destination: Destination, post: Post, *, is_report: bool = False) -> Taken | Refused:
        self.asked_data.append(destination.name)
        if destination.name in self.broken:
            raise RuntimeError("a rule failed")
        if destination.name == "small" and post.size > 100:
            return TOO_BIG
        return Taken(destination, "report" if is_report else "test")


class Front:
    """A bus that keeps everything in a list, and knows what it was told twice."""

    def __init__(self) -> None:
        self.flow = Flow()
        self.connected = True
        self.published: list[tuple[Item, bytes]] = []
        self.replied: list[ItemId] = []
        self.keys: dict[bytes, ItemId] = {}
        self.error: Exception | None = None
        self.held: list[asyncio.Future[tuple[ItemId, ...]]] | None = (
            None  # a list: confirmed when a test says so
        )

    def store(self, items: Sequence[Item], content: bytes, keys: Sequence[bytes]) -> tuple[ItemId, ...]:
        self.published += [(item, content) for item in items]
        if not keys:
            return tuple(item.id for item in items)
        return tuple(self.keys.setdefault(key, item.id) for key, item in zip(keys, items, strict=True))

    def publish(
        self, items: Sequence[Item], content: bytes, content_keys: Sequence[bytes] = ()
    ) -> asyncio.Future[tuple[ItemId, ...]]:
        future: asyncio.Future[tuple[ItemId, ...]] = asyncio.get_running_loop().create_future()
        if self.error is not None:
            future.set_exception(self.error)
        elif self.held is not None:
            self.held.append(future)
            self.store(items, content, content_keys)
        else:
            future.set_result(self.store(items, content, content_keys))
        return future

    def submit(
        self, items: Sequence[Item], content: bytes, content_keys: Sequence[bytes], done: Done
    ) -> None:
        if self.error is not None and not isinstance(self.error, Away | PublishRefused):
            raise self.error

        def tell(future: asyncio.Future[tuple[ItemId, ...]]) -> None:
            error = future.exception()
            assert error is None or isinstance(error, Away | PublishRefused)
            then = done(error or future.result())
            if then is not None:
                then()

        self.publish(items, content, content_keys).add_done_callback(tell)

    def note_replied(self, ids: Sequence[ItemId], content_keys: Sequence[bytes] = ()) -> None:
        self.replied += ids
        for key in content_keys:
            self.keys.pop(key, None)


def make_settings(**lmtp: Any) -> Settings:
    """Make settings of a site called lists.example.org."""
    return Settings(site=SiteSettings(name="lists.example.org"), lmtp=LmtpSettings(**lmtp))


class Parts(NamedTuple):
    """A service and what is behind it."""

    service: Service
    lists: Lists
    front: Front
    log: CapturingLogger

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the keys of each line that was logged under this event name."""
        return [dict(call.kwargs) for call in self.log.calls if call.kwargs.get("event") == name]


def make_parts(lists: Lists | None = None, **lmtp: Any) -> Parts:
    """Make a service of stand-ins; `lmtp` are settings of that table."""
    lists, front, sink = lists or Lists(), Front(), CapturingLogger()
    log = structlog.wrap_logger(
        sink,
        processors=[],
        wrapper_class=structlog.make_filtering_bound_logger(0),
    )
    service = Service(make_settings(**lmtp), lists, front, Clock(), log)
    service.is_loaded = True
    return Parts(service, lists, front, sink)


class Talk:
    """A dialogue without a socket: what it wants is given at once, unless `hold` is set."""

    def __init__(self, parts: Parts, *, hold: bool = False, odd_takes_s: float = 0.0) -> None:
        """`odd_takes_s`: time stands still, and each odd address takes so long."""
        self.parts = parts
        self.now_s = 0.0
        self.hold = hold
        self.is_current = True
        self.assured = 0
        self.outcome: Reply | None = None  # what Publish comes to, in place of ids
        loop: Any = None
        if odd_takes_s:
            parts.service.monotonic = lambda: self.now_s

        def parse(argument: str) -> tuple[str | None, str | None]:
            self.now_s += odd_takes_s
            return parse_odd(argument)

        self.dialogue = Dialogue(parts.service, Client(loop, "s-1", PEER, may_forward=True), parse)
        self.output = b""
        self._collect()

    def send(self, data: bytes) -> bytes:
        """Send octets; return what came back for them."""
        before = len(self.output)
        self.dialogue.receive(data)
        self._collect()
        while not self.hold and self.give():
            pass
        return self.output[before:]

    def give(self) -> bool:
        """Give what is wanted; False when nothing is."""
        dialogue = self.dialogue
        match dialogue.want:
            case None:
                return False
            case Pause() | Delay():
                dialogue.go_on()
            case Assure():
                self.assured += 1
                dialogue.assured(self.is_current)
            case Secure():
                dialogue.secured(Security("TLSv1.3", "TLS_AES_256_GCM_SHA384", ""))
            case Publish(items, content, keys):
                dialogue.published(self.outcome or self.parts.front.store(items, content, keys))
        self._collect()
        return True

    def codes(self, data: bytes) -> list[str]:
        """Send octets; return code and enhanced code of each line that came back."""
        return [line[:9].decode() for line in self.send(data).splitlines()]

    def _collect(self) -> None:
        self.output += self.dialogue.take_output()


def begun(parts: Parts | None = None, **settings: Any) -> Talk:
    """Return a talk in which LHLO has been said."""
    talk = Talk(parts or make_parts(**settings))
    talk.send(LHLO)
    return talk


def stuff(content: bytes) -> bytes:
    """Write a message as it goes over the wire, with the final dot. `content` is empty or ends with CR LF."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if stuffed.startswith(b".") else b"") + stuffed + b".\r\n"


__all__ = [
    "GREETING",
    "LHLO",
    "LINES_OF_LHLO",
    "Front",
    "Lists",
    "Parts",
    "Talk",
    "begun",
    "make_parts",
    "replies",
    "stuff",
]
