"""Mail that means harm to the runners of members and bounces: each ends in a line of the log, nobody dies, and nobody is mailed beyond the budget."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bus.client import publish_now
from config.names import ListId
from config.settings import NoticeSettings, OutgoingSettings
from lists.bounces.parts import MAX_RECIPIENTS
from lists.model import Member
from lists.secret import load_site_key
from lists.tokens import make_verp
from tests.support.bounces import block, make_dsn
from tests.support.bus_process import make_item
from tests.support.runners import RunnerSite
from tests.support.sink import Sink

pytestmark = pytest.mark.slow

ANT = "ant@example.org"
ANT_ID = ListId("ant.example.org")
BOUNCES = "ant-bounces@example.org"
JOIN = "ant-join@example.org"
VICTIM = "victim@example.net"
ANNE = "anne@example.net"
PER_DAY = 10
AT_ONCE = 20  # items of one publish
HOPELESS_S = 240.0  # for 10,000 items


class Scene:
    """A site with one list and the runners that a test names; `is_alive` says that none of them has died."""

    def __init__(self, site: RunnerSite, sink: Sink) -> None:
        self.site = site
        self.sink = sink

    def comes(self, queue: str, recipient: str, content: bytes, reverse_path: str = "") -> None:
        """Let one mail come and wait until it was handled."""
        self.site.post(recipient, content, queue, list_id=ANT_ID, reverse_path=reverse_path)
        self.site.wait_empty(queue, "outgoing", within_s=60.0)

    def member(self, address: str) -> Member | None:
        return self.site.store.look(lambda roster: roster.member(ANT_ID, address))

    def score(self, address: str) -> float:
        return self.site.store.look(lambda roster: roster.bounces(ANT_ID, address).score.value)

    def mails(self) -> Counter[str]:
        return Counter(self.sink.recipients())

    def assert_calm(self) -> None:
        """No runner has died, nothing was set aside, no handler has raised."""
        assert [runner.instance for runner in self.site.runners if runner.process.poll() is not None] == []
        assert self.site.shunts() == []
        assert self.site.lines("item.failed") == []


@contextmanager
def acting(folder: Path, *queues: str, members: Any = (ANNE,)) -> Iterator[Scene]:
    with (
        Sink() as sink,
        RunnerSite(
            folder, outgoing=OutgoingSettings(smtp=sink.address), notices=NoticeSettings(per_day=PER_DAY)
        ) as site,
    ):
        site.create_list(ANT, members, owners=["olga@example.com"])
        for queue in (*queues, "outgoing"):
            site.start(queue)
        yield Scene(site, sink)


def person(sender: str, to: str, subject: str = "hello", body: str = "hello") -> bytes:
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n\r\n{body}\r\n".encode()


def nested(depth: int) -> bytes:
    """Parts in parts in parts, and a report inside of all."""
    heads = [
        f"Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n" for number in range(depth)
    ]
    return (
        b"From: MAILER-DAEMON@mx.example.net\r\nSubject: failed\r\n"
        + "".join(heads).encode()
        + make_dsn(block(ANNE))
    )


def big() -> bytes:
    """20 MB of returned mail behind a true report."""
    report = make_dsn(block(ANNE))
    end = report.rindex(b"--b--")
    return report[:end] + b"x" * 76 * 100 + (b"y" * 76 + b"\r\n") * 262_144 + report[end:]


def crowd() -> bytes:
    """A report about 50,000 addresses, with a member as the first and another as the last."""
    named = [ANNE, *(f"a{number}@example.net" for number in range(49_998)), "bart@example.net"]
    return make_dsn(*map(block, named))


@pytest.mark.parametrize(
    ("make", "score", "line"),
    [
        pytest.param(
            lambda: nested(3000), 0, ("bounce.ignored", "why", "unreadable"), id="3,000 nested parts"
        ),
        pytest.param(big, 1, ("bounce.scored", "member", ANNE), id="20 MB"),
        pytest.param(crowd, 1, ("bounce.scored", "member", ANNE), id="50,000 addresses"),
    ],
)
def test_a_monstrous_bounce_ends_in_a_line(
    tmp_path: Path, make: Callable[[], bytes], score: float, line: tuple[str, str, str]
) -> None:
    """It is read as far as a report of a real MTA goes, while the runner beats on, in bounded memory."""
    event, key, words = line
    with acting(tmp_path, "bounces", members=[ANNE, "bart@example.net"]) as scene:
        scene.comes("bounces", BOUNCES, make())
        (said,) = (each for each in scene.site.lines(event) if words in each[key])
        assert said["list_id"] == ANT_ID
        assert scene.score(ANNE) == score
        assert scene.score("bart@example.net") == 0, (
            f"at most {MAX_RECIPIENTS} recipients of a report are looked at"
        )
        (handled,) = scene.site.lines("item.handled")
        assert handled["duration_ms"] < 6000
        scene.assert_calm()
        assert scene.mails() == {}


def test_a_forged_verp_token_scores_nobody(tmp_path: Path) -> None:
    """Neither whom it pretends to be about, nor whom the report names."""
    with acting(tmp_path, "bounces", members=[ANNE, "bart@example.net"]) as scene:
        anne = scene.member(ANNE)
        assert anne is not None
        good = make_verp(load_site_key(scene.site.settings), ANT_ID, anne.id, anne.joined_at.date())
        other_list = make_verp(
            load_site_key(scene.site.settings), ListId("bee.example.org"), anne.id, anne.joined_at.date()
        )
        flipped = "".join(
            letter if place != 9 else ("a" if letter != "a" else "b") for place, letter in enumerate(good)
        )
        for token in (flipped, other_list, "a" * len(good), good[:-1], "%00", "=" * 60):
            scene.comes("bounces", f"ant-bounces+{token}@example.org", make_dsn(block("bart@example.net")))
            assert (scene.score(ANNE), scene.score("bart@example.net")) == (0, 0), token
        scene.assert_calm()
        assert scene.mails() == {}


def test_a_replayed_confirmation_changes_nothing(tmp_path: Path) -> None:
    """Also after the member has left; each answer is paid from the budget of who replays."""
    with acting(tmp_path, "membership", "confirm") as scene:
        scene.comes("membership", JOIN, person("zoe@example.net", JOIN), "zoe@example.net")
        (question,) = scene.sink.transactions
        (to,) = set(re.findall(rb"ant-confirm\+[a-z2-7]{24}@example\.org", question.content))
        scene.comes("confirm", to.decode(), person("zoe@example.net", "x"), "zoe@example.net")
        assert scene.member("zoe@example.net") is not None
        scene.site.store.remove_members(ANT_ID, ["zoe@example.net"])
        for _ in range(30):
            scene.site.post(
                to.decode(),
                person("eve@example.net", "x"),
                "confirm",
                list_id=ANT_ID,
                reverse_path="eve@example.net",
            )
        scene.site.wait_empty("confirm", "outgoing", within_s=60.0)
        assert scene.member("zoe@example.net") is None
        assert scene.mails()["eve@example.net"] == PER_DAY
        assert {line["reason"] for line in scene.site.lines("notice.denied")} == {"budget"}
        assert len(scene.site.lines("notice.denied")) == 30 - PER_DAY
        scene.assert_calm()


def test_a_join_with_a_forged_sender_a_thousand_times_is_one_request_and_the_budget(tmp_path: Path) -> None:
    with acting(tmp_path, "membership") as scene:
        bomb(scene, 1000, ["ant"], lambda number: (VICTIM, "join"))
        assert scene.mails() == {VICTIM: PER_DAY}
        (waiting,) = scene.site.store.records.requests(ANT_ID)
        assert waiting.address == VICTIM
        assert scene.member(VICTIM) is None
        scene.assert_calm()


@pytest.mark.timeout(300)
def test_ten_thousand_join_requests_for_one_victim_are_the_budget(tmp_path: Path) -> None:
    """From 500 senders, who all name the victim, to 40 lists: the budget is one for the whole site."""
    with acting(tmp_path, "membership") as scene:
        names = [f"list{number}" for number in range(40)]
        for name in names:
            scene.site.create_list(f"{name}@example.org")
        bomb(
            scene,
            10_000,
            names,
            lambda number: (f"eve{number % 500}@example.com", f"join address={VICTIM}"),
        )
        assert scene.mails() == {VICTIM: PER_DAY}
        for name in names:
            list_id = ListId(f"{name}.example.org")
            (waiting,) = scene.site.store.records.requests(list_id)
            assert (waiting.address, scene.site.store.count_members(list_id)) == (VICTIM, 0)
        scene.assert_calm()


def test_details_of_one_mailbox_share_one_budget(tmp_path: Path) -> None:
    """zoe+1@ to zoe+200@ are one mailbox at most providers: ten mails for it in all, however they are named."""
    with acting(tmp_path, "membership") as scene:
        bomb(scene, 200, ["ant"], lambda number: (f"zoe+{number}@example.net", "join"))
        assert sum(scene.mails().values()) == PER_DAY
        scene.assert_calm()


def test_an_owner_has_a_budget_for_each_kind_of_mail(tmp_path: Path) -> None:
    """A flood of what is only told leaves room for what waits for a decision."""
    with acting(tmp_path, "membership") as scene:
        scene.site.create_list(
            "bee@example.org",
            owners=["olga@example.com"],
            settings=["subscription_policy=open", "admin_notify_mchanges=yes", "send_welcome_message=no"],
        )
        scene.site.create_list(
            "cow@example.org", owners=["olga@example.com"], settings=["subscription_policy=moderate"]
        )
        most = scene.site.settings.notices.staff_per_day
        for name, count in (("bee", most + 30), ("cow", 30)):
            for number in range(count):
                sender = f"anne{number}@{name}.example.net"
                item = make_item(
                    "membership",
                    f"{name}.example.org",
                    recipient=f"{name}-join@example.org",
                    reverse_path=sender,
                )
                publish_now(scene.site.settings, [item], person(sender, item.recipient, "join"))
        scene.site.wait_empty("membership", "outgoing", within_s=HOPELESS_S)
        assert scene.mails()["olga@example.com"] == most + 30
        denied = [(line["kind"], line["recipient"]) for line in scene.site.lines("notice.denied")]
        assert denied == [("report", "olga@example.com")] * 30
        assert scene.site.store.count_members("bee.example.org") == most + 30
        scene.assert_calm()


def bomb(scene: Scene, count: int, names: Sequence[str], make: Callable[[int], tuple[str, str]]) -> None:
    """Publish requests as fast as the bus takes them, sender and subject of the n-th AT_ONCE made by `make`, and wait until all are handled."""
    for number in range(count // AT_ONCE):
        sender, subject = make(number)
        items = [
            make_item(
                "membership",
                f"{names[place % len(names)]}.example.org",
                recipient=f"{names[place % len(names)]}-join@example.org",
                reverse_path=sender,
            )
            for place in range(number * AT_ONCE, (number + 1) * AT_ONCE)
        ]
        publish_now(scene.site.settings, items, person(sender, items[0].recipient, subject))
    scene.site.wait_empty("membership", "outgoing", within_s=HOPELESS_S)
    assert len(scene.site.lines("notice.denied")) == count - PER_DAY


@pytest.mark.parametrize("queue", ["membership", "confirm", "request", "bounces", "owner"])
def test_a_charset_that_does_not_exist_is_no_trouble(tmp_path: Path, queue: str) -> None:
    """In subject, names and body."""
    purpose = {"membership": "join"}.get(queue, queue)
    to = f"ant-{purpose}@example.org"
    content = (
        b"From: =?x-none?q?Zo=EB?= <zoe@example.net>\r\nSubject: =?x-nothing?b?aGVsbG8=?= =?utf-8?q?=ff?=\r\n"
        b"Content-Type: text/plain; charset=x-there-is-none\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\xfe!!\r\n"
    )
    with acting(tmp_path, queue) as scene:
        scene.comes(queue, to, content, "zoe@example.net")
        handled = scene.site.lines("item.handled")[0]
        assert handled["outcome"] == "ack"
        expected = dict.fromkeys(("membership", "confirm", "request"), "zoe@example.net")
        expected["owner"] = "olga@example.com"
        assert scene.mails() == ({expected[queue]: 1} if queue in expected else {})
        scene.assert_calm()
