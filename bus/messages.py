"""Every struct that crosses a socket of the bus or stays in its journal.

A message is a list of frames: one struct as msgpack (a map, tagged with its name and version), then bodies as they are.
A new field has a default; a changed meaning is a new tag. What a socket cannot decode is answered with Problem.
Addresses are text (they were valid UTF-8 when the front-end took them); contents and recipient lists are octets that the bus
never looks into.
"""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Raw, Struct

from config.names import Instance, ItemId, ListId, Queue

MAX_OUTPUTS = 100  # of one ack; more is a range, see Item.part
SLICE = 500  # recipients of one outgoing item at most
MAX_HOP = 32  # an item made by so many handlers in a row goes round in a circle


class Item(Struct, frozen=True, kw_only=True, tag="item.v1", omit_defaults=True):
    """One message for one recipient, in outgoing for a slice of recipients.

    The content is a frame of its own; the recipients that `part` counts into are another.
    """

    id: ItemId
    root_id: ItemId  # of the accepted mail: the thread of a trace
    queue: Queue
    list_id: ListId = ListId("")  # items of one list in one queue are handled one at a time; "": in no order
    recipient: str = ""  # the one we answered 250 for; "" with a slice
    recipients: tuple[str, ...] = ()  # this slice: filled by the client from its frame, never sent or stored
    memberships: tuple[
        int, ...
    ] = ()  # of these recipients, filled with them: each has a reverse-path of its own (VERP)
    part: tuple[int, int] | None = (
        None  # first and one past the last, counted in the recipients' frame; over SLICE: a range
    )
    reverse_path: str = ""  # "" is the null reverse-path, RFC 5321 4.5.5
    accepted_at: datetime  # UTC
    message_id: str = ""  # as in the header, for search and logs alone
    size: int = 0  # octets of the content
    hop: int = 0  # handlers between the accepted mail and this
    args: dict[str, Raw] = {}  # client, command; outputs inherit it
    due_at: datetime | None = (
        None  # not before; attempts and blame live in the journal and come with the lease
    )


class LeaseToken(Struct, frozen=True, array_like=True):
    """Names one lease; a settlement under any other is stale and changes nothing."""

    epoch: str  # one life of the bus
    number: int


class Note(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What outgoing noted of one SMTP transaction of an item: begun, and later done with each recipient's result."""

    number: int  # of the transaction, from 0, within the item
    part: tuple[int, int]  # the recipients of this transaction, counted in the recipients' frame
    instance: Instance  # who began it
    results: tuple[tuple[int, str], ...] | None = (
        None  # None: begun; else (SMTP code, text) of each recipient
    )


# What a client says ---------------------------------------------------------------------------------------------------


class Hello(Struct, frozen=True, kw_only=True, tag="hello.v1"):
    """First message after a connection or when the epoch has changed; a runner names what it has in hand."""

    role: str  # front, runner, master, admin
    name: str
    instance: Instance
    pid: int
    queue: Queue = Queue("")  # a runner's
    slots: int = 0  # items, or runs of them, that a runner handles at a time
    run: int = 1  # consecutive items of one list that it takes at once, see Jobs
    max_runtime_s: float = 300.0
    claims: tuple[ItemId, ...] = ()


class Publish(Struct, frozen=True, kw_only=True, tag="publish.v1"):
    """Store these items, which share the content in the next frame: all of them or none."""

    items: tuple[Item, ...]
    content_keys: tuple[bytes, ...] = ()  # one an item, b"" for none: what makes a re-sent mail the same mail
    released: bool = False  # acts on something held: counted as released, not as accepted


class Replied(Struct, frozen=True, tag="replied.v1"):
    """The client of these items has read our 250: the same mail again is wanted again."""

    ids: tuple[ItemId, ...]


class Beat(Struct, frozen=True, tag="beat.v1"):
    """This process's main loop turns. The bus answers with the same."""


class Ack(Struct, frozen=True, kw_only=True, tag="ack.v1"):
    """This item is done; these follow from it. `bodies` of an output count the frames after this one, -1 is the item's own content or recipients."""

    lease: LeaseToken
    outputs: tuple["Placed", ...] = ()
    held: bool = False  # the post now lies in the list store: counted as held, not as done
    note: Note | None = None  # the last `done` rides along
    reason: str = ""


class Acks(Struct, frozen=True, tag="acks.v1"):
    """What a runner has done at about the same time, in this order. Frames after it: those of each Ack in turn, as many as stand beside it."""

    acks: tuple[tuple[Ack, Annotated[int, Meta(ge=0)]], ...]


class Placed(Struct, frozen=True, omit_defaults=True):
    """One output and which frames it uses."""

    item: Item
    content: int = -1  # -1: the content of the item that is settled; else the frame, from 0
    recipients: int | None = None  # None: it has none; -1: those of the item that is settled; else the frame


class Retry(Struct, frozen=True, kw_only=True, tag="retry.v1"):
    """Give this item again later."""

    lease: LeaseToken
    reason: str
    delay_s: float | None = None  # None: the bus's own back-off
    counts: bool = True  # False: the world is at fault (store or MTA away), not the item
    declared: bool = False  # the handler asked for it: may go on for 5 days; else 5 attempts


class SetAside(Struct, frozen=True, kw_only=True, tag="shunt.v1"):
    """Shunt this item: a person must look at it."""

    lease: LeaseToken
    reason: str  # a short code, "handler-error"
    detail: str = ""  # for a person: at most 8 KiB, never content


class Progress(Struct, frozen=True, tag="progress.v1"):
    """Write this note down; answered by Settled when it is durable."""

    lease: LeaseToken
    note: Note


class Return(Struct, frozen=True, tag="return.v1"):
    """Not begun, or stopped at a safe place: give it to another at once, nobody is to blame."""

    lease: LeaseToken


class Bye(Struct, frozen=True, tag="bye.v1"):
    """I leave; lease me nothing more. Leases still in hand are settled or returned one by one."""


class Gone(Struct, frozen=True, tag="gone.v1"):
    """From master: these processes have been reaped. Their leases may go to others; `crashed` ones are to blame."""

    instances: tuple[Instance, ...]
    crashed: bool = True


class Living(Struct, frozen=True, tag="living.v1"):
    """From master, to a bus that has just started: these processes live, and no others."""

    instances: tuple[Instance, ...]


class Ask(Struct, frozen=True, kw_only=True, tag="ask.v1"):
    """A question or an order of an operator; answered by Answer. `what` is a key of QUESTIONS."""

    what: str
    args: dict[str, Any] = {}
    number: int = 0  # comes back with the answer: answers may overtake each other


# status {}: AnswerStatus; pause|resume {queue}; shunts {queue?, list_id?}; shunt {id} (its content is the next frame);
# unshunt|drop {ids? | queue? | list_id?}; find {id} (item id, root id or Message-ID: what is still queued, and its notes);
# holds {ids}: those of them that are in the journal in any state; heard {}: everything sent before this was read. Publish is an
# ordinary Publish.
QUESTIONS = frozenset(
    {"status", "pause", "resume", "shunts", "shunt", "unshunt", "drop", "find", "holds", "heard"}
)


# What the bus says ----------------------------------------------------------------------------------------------------


class Flow(Struct, frozen=True, omit_defaults=True):
    """What may come in."""

    state: str = "ok"  # ok, or stop with a reason: disk, memory, journal
    reason: str = ""
    full: tuple[Queue, ...] = ()  # over their mark: mail to their addresses is told 452, other mail is taken
    delay_ms: int = 0  # 0 to 1000; mail comes faster than it is written down: MAIL is answered so much later
    fronts: int = 1  # front-ends that share the limits of the site


class Welcome(Struct, frozen=True, kw_only=True, tag="welcome.v1"):
    """Answer to Hello. Claims that are not among `adopted` are somebody else's now: stop working on them."""

    epoch: str
    flow: Flow = Flow()
    adopted: dict[ItemId, LeaseToken] = {}


class Confirmed(Struct, frozen=True, tag="confirmed.v1"):
    """These are durable. The key is the first item's id of a Publish, the value has, for each of its items, the id under
    which it is stored: another one where the same mail was there already."""

    results: dict[ItemId, tuple[ItemId, ...]]


class Refused(Struct, frozen=True, tag="refused.v1"):
    """Nothing of this Publish (named by its first item) is stored."""

    id: ItemId
    kind: str  # full (452 4.3.1), busy (451 4.3.2), size (552 5.3.4), bad (a bug of the client's)
    reason: str


class Job(Struct, frozen=True, kw_only=True, tag="job.v1"):
    """A lease. Frames after it: the content, then the recipients if the item has a part."""

    lease: LeaseToken
    item: Item
    attempt: int = 1
    crashes: int = 0
    notes: tuple[Note, ...] = ()
    first: bool = False  # sure to be the first lease of this item in any life of the bus: nobody has worked on it before


class Jobs(Struct, frozen=True, tag="jobs.v1"):
    """A run: leases of consecutive items of one list, handled in this order. Frames after it: those of each Job in turn.

    One message, so that a runner has all of it or nothing. Only for a runner whose Hello has a `run`. What is not to be handled now because one
    before it failed is returned before that one is settled.
    """

    jobs: tuple[Job, ...]


class Settled(Struct, frozen=True, tag="settled.v1"):
    """What became of settlements and notes: done (durable), stale (not yours any more), refused (see the log).

    Of a note it is what `noted` says, so that the answer to a note sent twice is not taken for that of the next.
    """

    results: tuple[tuple[LeaseToken, str], ...]


def noted(note: Note) -> str:
    """Return the answer to a note that is durable."""
    return f"noted {note.number} {'begun' if note.results is None else 'done'}"


class FlowChanged(Struct, frozen=True, tag="flow.v1"):
    """To front-ends, when it changes."""

    flow: Flow


class Lost(Struct, frozen=True, tag="lost.v1"):
    """To master: not heard of for three beats. Their leases wait for Gone."""

    instances: tuple[Instance, ...]


class Answer(Struct, frozen=True, kw_only=True, tag="answer.v1"):
    """To Ask: the answer, or why not (`error`; then `data` is nil)."""

    data: Any = None
    error: str = ""
    number: int = 0  # of the Ask


class Problem(Struct, frozen=True, tag="problem.v1"):
    """A message could not be understood."""

    code: str
    text: str


FromClient = (
    Hello
    | Publish
    | Replied
    | Beat
    | Ack
    | Acks
    | Retry
    | SetAside
    | Progress
    | Return
    | Bye
    | Gone
    | Living
    | Ask
)
FromBus = Welcome | Confirmed | Refused | Job | Jobs | Settled | FlowChanged | Lost | Answer | Problem | Beat

encode = msgspec.msgpack.Encoder().encode
decode_from_client = msgspec.msgpack.Decoder(FromClient).decode
decode_from_bus = msgspec.msgpack.Decoder(FromBus).decode
decode_item = msgspec.msgpack.Decoder(Item).decode


class RecipientList(Struct, frozen=True, tag="recipients.v1"):
    """The recipients of a post, written down once.

    With `memberships`, as many as addresses, the post goes out with VERP. They are numbers and not reverse-paths because every slice is lent with
    the whole list: for 100,000 members 0.5 MB more and not 6 MB.
    """

    addresses: tuple[str, ...]
    memberships: tuple[int, ...] = ()


decode_recipients = msgspec.msgpack.Decoder(RecipientList).decode
