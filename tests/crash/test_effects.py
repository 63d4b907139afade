"""Effects happen once (P4): one message of each kind, its runner or outgoing killed at each named place and started again.

Every run starts from the same store, with the same item. Afterwards the list store has the same rows, and the same mails have come to the same
recipients, the same tokens in them, as in the run that nobody disturbed; a second copy has only who is named by the journal.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from msgspec import Raw, msgpack
from msgspec.structs import replace

from config.names import id_about
from lists.bounces.scoring import Score, State
from lists.changes import DisableMember, MakeToken, SetScore
from lists.records import BounceRecord
from lists.secret import load_site_key
from lists.tokens import make_token, token_hash
from runners.bounce_case import ENABLE
from tests.support.bounces import block, make_dsn
from tests.support.bus_process import make_item
from tests.support.effects import (
    ANT,
    ANT_ID,
    MEMBERS,
    NOON,
    Ending,
    Kind,
    Message,
    Stage,
    differences,
    mails_to,
    staging,
    timed,
)

pytestmark = [pytest.mark.crash, pytest.mark.slow]

ANNE = MEMBERS[0]
ZOE = "zoe@example.net"
OLGA = "olga@example.com"
SCORE_BEFORE = 4.0  # one more bad mailbox is the threshold

AROUND_ACK = ("runner.ack.before", "runner.ack.after", "runner.settled.before")
AROUND_HANDLER = ("runner.handle.before", "runner.handle.after")
AROUND_COMMIT = ("store.commit.before", "store.commit.after")
AROUND_TIMER = ("timer.publish.before", "timer.publish.after")
AROUND_REPLY = (
    "outgoing.begun.before",
    "outgoing.begun.after",
    "outgoing.data.before",
    "outgoing.data.after",
)
MAY_DOUBLE = {"outgoing.data.after", "outgoing.done.after", *AROUND_ACK}


# The kinds ------------------------------------------------------------------------------------------------------------


def _message(queue: str, recipient: str, content: bytes, **fields: object) -> Message:
    """Make what comes; its id is the same in every run."""
    fields = {"reverse_path": "", **fields}
    item = make_item(
        queue, ANT_ID, id=id_about(f"{queue} {recipient}"), recipient=recipient, accepted_at=NOON, **fields
    )
    return Message(item, content)


def _mail(sender: str, to: str, subject: str = "hello") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\nMessage-ID: <1@said.example>\r\n\r\nhello\r\n".encode()


def _said(queue: str, sender: str, to: str, subject: str = "hello") -> Message:
    """A person's mail."""
    return _message(queue, to, _mail(sender, to, subject), reverse_path=sender)


def _scored(stage: Stage, value: float) -> None:
    """Let Anne have bounced on the days before."""
    day = timed(NOON, -1).date()
    stage.change(SetScore(ANT_ID, ANNE, BounceRecord(score=Score(value, day, 1.0))))


def _bounce(to: str = "ant-bounces@example.org") -> Message:
    return _message("bounces", to, make_dsn(block(ANNE)))


def bounce_that_scores(stage: Stage) -> Message:
    return _bounce()


def bounce_that_probes(stage: Stage) -> Message:
    _scored(stage, SCORE_BEFORE)
    return _bounce()


def probe_that_fails(stage: Stage) -> Message:
    _scored(stage, SCORE_BEFORE)
    bounce = _bounce()
    (probe,) = stage.come("bounces", bounce.item.recipient, bounce.content, reverse_path="")
    assert probe.accepted == (ANNE,)
    return _bounce(probe.reverse_path)


def _disabled(stage: Stage, warnings: int) -> None:
    record = BounceRecord(state=State.DISABLED, warnings_sent=warnings, due_at=timed(NOON, -0.01))
    stage.change(DisableMember(ANT_ID, ANNE, record))


def warning_that_is_due(stage: Stage) -> None:
    _disabled(stage, 1)


def removal_that_is_due(stage: Stage) -> None:
    _disabled(stage, 3)


def join(stage: Stage) -> Message:
    return _said("membership", ZOE, "ant-join@example.org")


def leave(stage: Stage) -> Message:
    return _said("membership", ANNE, "ant-leave@example.org")


def confirm(stage: Stage) -> Message:
    to = "ant-join@example.org"
    (question,) = stage.come("membership", to, _mail(ZOE, to), reverse_path=ZOE)
    (confirm_address,) = re.findall(rb"ant-confirm\+[a-z2-7]{24}@example\.org", question.content)[:1]
    return _said("confirm", ZOE, confirm_address.decode(), "Re: yes")


def _asks_moderators(stage: Stage) -> bytes:
    """Let Zoe wait for a moderator; returns what Olga has got."""
    stage.site.store.set_options(ANT_ID, ["subscription_policy=moderate"])
    to = "ant-join@example.org"
    mails = stage.come("membership", to, _mail(ZOE, to), reverse_path=ZOE)
    (asked,) = mails_to(mails, OLGA)
    return asked.content


def approval_by_mail(stage: Stage) -> Message:
    (token,) = re.findall(rb"ant-confirm\+([a-z2-7]{24})@example\.org", _asks_moderators(stage))[:1]
    return _said("confirm", OLGA, f"ant-confirm+{token.decode()}@example.org")


def approval_by_command(stage: Stage) -> Message:
    _asks_moderators(stage)
    (request,) = stage.site.store.records.requests(ANT_ID)
    args = {"act": "approve", "request": request.id, "who": "root"}
    message = _message("membership", "ant-join@example.org", b"")
    return Message(
        replace(message.item, args={key: Raw(msgpack.encode(value)) for key, value in args.items()})
    )


def token_that_enables(stage: Stage) -> Message:
    _disabled(stage, 1)
    token = make_token(load_site_key(stage.site.settings), "confirm", id_about("warning"), ANT_ID, ANNE)
    stage.change(
        SetScore(ANT_ID, ANNE, BounceRecord(state=State.DISABLED, warnings_sent=1, due_at=timed(NOON, 7))),
        MakeToken(
            hash=token_hash(token),
            purpose="confirm",
            list_id=ANT_ID,
            address=ANNE,
            expires_at=timed(NOON, 20),
            about=ENABLE,
        ),
    )
    return _said("confirm", ANNE, f"ant-confirm+{token}@example.org")


def post_that_is_held(stage: Stage) -> Message:
    stage.site.store.set_options(ANT_ID, ["generic_nonmember_action=hold"])
    return _said("incoming", ZOE, ANT)


def commands(stage: Stage) -> Message:
    content = _mail(ANNE, "ant-request@example.org", "help") + b"who\r\nset hide on\r\nleave\r\n"
    return _message("request", "ant-request@example.org", content, reverse_path=ANNE)


def _decided(stage: Stage, act: str) -> Message:
    """Zoe's post is held, and somebody decides about it by a command."""
    stage.site.store.set_options(ANT_ID, ["generic_nonmember_action=hold"])
    stage.come("incoming", ANT, _mail(ZOE, ANT), reverse_path=ZOE)
    (held,) = stage.site.store.held(ANT_ID)
    message = _message("incoming", "", b"", reverse_path=ZOE)
    args = {"held": held.id, "act": act}
    return Message(
        replace(message.item, args={key: Raw(msgpack.encode(value)) for key, value in args.items()})
    )


def release(stage: Stage) -> Message:
    return _decided(stage, "accept")


def refusal(stage: Stage) -> Message:
    return _decided(stage, "reject")


def release_by_mail(stage: Stage) -> Message:
    stage.site.store.set_options(ANT_ID, ["generic_nonmember_action=hold"])
    (asked,) = mails_to(stage.come("incoming", ANT, _mail(ZOE, ANT), reverse_path=ZOE), OLGA)
    (token,) = re.findall(rb"ant-confirm\+([a-z2-7]{24})@example\.org", asked.content)[:1]
    return _said("confirm", OLGA, f"ant-confirm+{token.decode()}@example.org")


def command_that_joins(stage: Stage) -> Message:
    return _said("request", ZOE, "ant-request@example.org", "join")


def post(stage: Stage) -> Message:
    return _said("incoming", ANNE, ANT)


def owner_mail(stage: Stage) -> Message:
    return _said("owner", ZOE, "ant-owner@example.org")


KINDS = (
    Kind("bounce that scores", "bounces", bounce_that_scores, sends=False),
    Kind("bounce that probes", "bounces", bounce_that_probes),
    Kind("probe that fails", "bounces", probe_that_fails),
    Kind("warning that is due", "bounces", warning_that_is_due, at_outgoing=False),
    Kind("removal that is due", "bounces", removal_that_is_due),
    Kind("join", "membership", join),
    Kind("leave", "membership", leave, at_outgoing=False),
    Kind("confirm", "confirm", confirm),
    Kind("approval by mail", "confirm", approval_by_mail),
    Kind("approval by command", "membership", approval_by_command, at_outgoing=False),
    Kind("token that enables", "confirm", token_that_enables, at_outgoing=False),
    Kind("post that is held", "incoming", post_that_is_held, at_outgoing=False),
    Kind("commands", "request", commands),
    Kind("release", "incoming", release, many=True),
    Kind("release by mail", "confirm", release_by_mail, also=("incoming",), at_outgoing=False),
    Kind("refusal", "incoming", refusal, at_outgoing=False),
    Kind("command that joins", "request", command_that_joins),
    Kind("post", "incoming", post, many=True, uses_store=False),
    Kind("owner mail", "owner", owner_mail, many=True, uses_store=False),
)


# The matrix -----------------------------------------------------------------------------------------------------------


def rows() -> Iterator[tuple[Kind, str, str]]:
    """Yield kind, the queue whose runner dies, and where: every place that this process passes."""
    for kind in KINDS:
        is_timer = kind.prepare in (warning_that_is_due, removal_that_is_due)
        places = (*AROUND_HANDLER, *AROUND_COMMIT * kind.uses_store, *AROUND_ACK, *AROUND_TIMER * is_timer)
        yield from ((kind, kind.queue, place) for place in places)
        if kind.sends and kind.at_outgoing:
            done = ("outgoing.done.after",) * kind.many
            places = (*AROUND_REPLY, *done, *AROUND_ACK)
            yield from ((kind, "outgoing", place) for place in places)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[Kind], tuple[Stage, Ending]]]:
    """Return the stage of a kind and what comes of its message when nobody disturbs it; one stage at a time."""
    made: dict[str, tuple[Stage, Ending]] = {}
    open_stages: list[AbstractContextManager[Stage]] = []

    def find(kind: Kind) -> tuple[Stage, Ending]:
        if kind.name not in made:
            while open_stages:
                open_stages.pop().__exit__(None, None, None)
            context = staging(tmp_path_factory.mktemp("stage"), kind)
            stage = context.__enter__()
            open_stages.append(context)
            made.clear()
            made[kind.name] = stage, stage.play()
        return made[kind.name]

    yield find
    while open_stages:
        open_stages.pop().__exit__(None, None, None)


@pytest.mark.parametrize(
    ("kind", "process", "place"),
    [pytest.param(*row, id=f"{row[0].name}, {row[1]} dies at {row[2]}".replace(" ", "-")) for row in rows()],
)
def test_it_happens_once_whoever_dies(
    undisturbed: Callable[[Kind], tuple[Stage, Ending]], kind: Kind, process: str, place: str
) -> None:
    stage, expected = undisturbed(kind)
    assert bool(expected.copies) == kind.sends
    assert differences(expected, expected) == []
    ending = stage.play(process, place)
    assert differences(ending, expected) == []
    if process != "outgoing" or place not in MAY_DOUBLE:
        assert ending.copies == expected.copies


# The bus: at the publish of the message, then at the ack of its runner.
BUS_PLACES = (
    ("bus.publish.received", 1),
    ("bus.commit.before", 1),
    ("bus.commit.after", 1),
    ("bus.confirm.before", 1),
    ("bus.confirm.after", 1),
    ("bus.job.before", 1),
    ("bus.job.after", 1),
    ("bus.commit.before", 2),
    ("bus.commit.after", 2),
    ("bus.confirm.before", 2),
    ("bus.confirm.after", 2),
)
BUS_KINDS = (
    "join",
    "post",
)  # one effect with one mail, one post to many; the bus does not tell the others from these


@pytest.mark.parametrize(
    ("kind", "place", "passage"),
    [
        pytest.param(
            kind, place, passage, id=f"{kind.name}, the bus dies at {place}@{passage}".replace(" ", "-")
        )
        for kind in KINDS
        if kind.name in BUS_KINDS
        for place, passage in BUS_PLACES
    ],
)
def test_it_happens_once_though_the_bus_dies(
    undisturbed: Callable[[Kind], tuple[Stage, Ending]], kind: Kind, place: str, passage: int
) -> None:
    """Nobody gets a second copy: runner and outgoing live on, and claim what they have in hand."""
    stage, expected = undisturbed(kind)
    ending = stage.play_without_bus(place, passage)
    assert differences(ending, expected) == []
    assert ending.copies == expected.copies
