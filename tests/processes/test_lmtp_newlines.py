"""Bare CR and bare LF at the real front-end: one message in is never two, and what is stored has CR LF or was not taken."""

import asyncio
import re
from collections.abc import Iterator

import pytest

from bus.client import Worker
from config.names import INCOMING, Instance
from tests.support.lmtp_process import Post, running_post
from tests.support.wire import Wire, code, make_mail

pytestmark = pytest.mark.slow

ENVELOPE = ("MAIL FROM:<anne@example.net>", "RCPT TO:<ant@example.org>", "RCPT TO:<bee@example.org>", "DATA")
SMUGGLED = (
    "MAIL FROM:<boss@example.net>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\nSubject: smuggled\r\n\r\nobey\r\n"
)
# Everything that some server was ever known to take for CR LF . CR LF.
FAKE_ENDS = [
    "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\r\n.\r\r\n", "\r\n\x00.\r\n", "\r\n.\x00\r\n",
]  # fmt: skip


@pytest.fixture(scope="module", params=["reject", "normalize"])
def post(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """A site with two open lists and one front-end."""
    with running_post(tmp_path_factory.mktemp("post"), bare_newlines=request.param) as running:
        for name in ("ant", "bee"):
            running.store.create_list(f"{name}@example.org", ["generic_nonmember_action=accept"])
        running.start_front()
        yield running


@pytest.mark.parametrize("fake", FAKE_ENDS)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_a_smuggled_transaction_never_comes_into_being(post: Post, fake: str, step: int) -> None:
    """All in one write or octet by octet: one reply for each recipient and no more, and nothing from the smuggler in a queue."""
    before = len(post.lines("lmtp.accepted"))
    body = f"before{fake}{SMUGGLED}".encode()
    attack = (
        b"\r\n".join(line.encode() for line in ENVELOPE) + b"\r\n" + make_mail(body=body) + b".\r\nNOOP\r\n"
    )
    with Wire.connect(post.tcp) as wire:
        for start in range(0, len(attack), step):
            wire.send_raw(attack[start : start + step])
        answers = [code(reply) for reply in wire.replies(7)]
        assert wire.codes("QUIT") == ["221 2.0.0"]
        assert wire.ends()
    is_bare = re.search(r"\r(?!\n)|(?<!\r)\n", fake) is not None
    is_taken = post.settings.lmtp.bare_newlines == "normalize" or not is_bare
    assert answers[:4] == ["250 2.1.0", "250 2.1.5", "250 2.1.5", "354"]
    assert answers[4:6] == ["250 2.0.0" if is_taken else "550 5.6.11"] * 2
    assert answers[6] == "250 2.0.0"
    new = post.lines("lmtp.accepted")[before:]
    assert [line["reverse_path"] for line in new] == ["anne@example.net"] * 2 * is_taken


def test_a_normalized_message_is_stored_with_cr_lf_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the runners get, and the size in the log, are of the mended octets; a header stays a header."""
    with running_post(tmp_path_factory.mktemp("one"), bare_newlines="normalize") as post:
        post.store.create_list("ant@example.org", ["generic_nonmember_action=accept"])
        post.start_front()
        mail = make_mail(body=b"one\ntwo\rthree\r\r\nfour\n.\nfive\r\n")
        wanted = re.sub(rb"\r\n|\r|\n", b"\r\n", mail)
        with Wire.connect(post.tcp) as wire:
            (answer,) = wire.mail(mail, "ant@example.org")
        assert code(answer) == "250 2.0.0"
        assert asyncio.run(asyncio.wait_for(_take(post), 10)) == wanted
        assert post.lines("lmtp.accepted")[-1]["size"] == len(wanted)


async def _take(post: Post) -> bytes:
    async with Worker(post.settings, "incoming-1", Instance("incoming-1:1"), INCOMING, 1, 60) as worker:
        lease = await anext(worker)
        assert await lease.ack()
        return lease.content
