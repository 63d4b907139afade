"""`send` against a real LMTP server: what arrives, what is shown, which exit code."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller, UnixSocketController
from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.postroom_cli import StoppedSite, make_site
from tests.support.site import free_port

pytestmark = pytest.mark.slow


@dataclass
class Taker:
    """Takes everything but mail for "no@": a stock library server on the other side."""

    envelopes: list[Envelope] = field(default_factory=list)

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("no@"):
            return "550 5.1.1 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "\r\n".join("250 2.0.0 Accepted" for _ in envelope.rcpt_tos)


class TcpLmtp(Controller):
    def factory(self) -> LMTP:
        return LMTP(self.handler, enable_SMTPUTF8=True)


class UnixLmtp(UnixSocketController):
    def factory(self) -> LMTP:
        return LMTP(self.handler, enable_SMTPUTF8=True)


@pytest.fixture
def taker() -> Taker:
    return Taker()


@pytest.fixture
def port(taker: Taker) -> Iterator[int]:
    server = TcpLmtp(taker, hostname="127.0.0.1", port=free_port())
    server.start()
    yield server.port
    server.stop()


@pytest.fixture
def site(tmp_path: Path) -> StoppedSite:
    return make_site(tmp_path)


def test_a_message_is_written_when_there_is_none(site: StoppedSite, taker: Taker, port: int) -> None:
    done = site.call("send", "--from", "a@x.org", "--to", "b@x.org", "--host", f"127.0.0.1:{port}")
    assert (done.code, done.out) == (0, "b@x.org: 250 2.0.0 Accepted\n")
    (envelope,) = taker.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("a@x.org", ["b@x.org"])
    content = envelope.content
    assert isinstance(content, bytes)
    header = content.partition(b"\r\n\r\n")[0].decode()
    names = [line.partition(":")[0] for line in header.split("\r\n")]
    assert names == ["Date", "From", "To", "Message-ID", "Subject"]


def test_a_file_goes_over_with_its_line_ends_mended_and_its_dots_kept(
    site: StoppedSite, taker: Taker, port: int, tmp_path: Path
) -> None:
    (tmp_path / "mail").write_bytes(b"Subject: x\n\n.dot\r\n..\nend")
    site.do(
        "send", "--from", "", "--to", "b@x.org", "--file", tmp_path / "mail", "--host", f"127.0.0.1:{port}"
    )
    assert taker.envelopes[0].content == b"Subject: x\r\n\r\n.dot\r\n..\r\nend\r\n"
    assert taker.envelopes[0].mail_from == "<>"  # as this library spells the null reverse-path


def test_the_message_may_come_on_stdin(site: StoppedSite, taker: Taker, port: int) -> None:
    site.do(
        "send",
        "--from",
        "<a@x>",
        "--to",
        "<b@x>",
        "--file",
        "-",
        "--host",
        f"127.0.0.1:{port}",
        stdin="Subject: y\n",
    )
    assert taker.envelopes[0].content == b"Subject: y\r\n"
    assert taker.envelopes[0].rcpt_tos == ["b@x"]


def test_one_refused_recipient_is_shown_and_exits_1(site: StoppedSite, taker: Taker, port: int) -> None:
    arguments = ["send", "--from", "a@x", "--to", "b@x", "--to", "no@x", "--host", f"127.0.0.1:{port}"]
    done = site.call(*arguments)
    assert done.code == 1
    assert done.out == "b@x: 250 2.0.0 Accepted\nno@x: 550 5.1.1 nobody here\n"
    told = site.call(*arguments, "--json").json()
    assert [(row["recipient"], row["stage"], row["code"], row["enhanced"]) for row in told] == [
        ("b@x", "DATA", 250, "2.0.0"),
        ("no@x", "RCPT", 550, "5.1.1"),
    ]


def test_the_first_listen_of_the_configuration_is_the_default(
    taker: Taker, port: int, tmp_path: Path
) -> None:
    make_site(tmp_path, f'[lmtp]\nlisten = ["127.0.0.1:{port}"]\n').do("send", "--from", "a@x", "--to", "b@x")
    assert len(taker.envelopes) == 1


def test_a_unix_socket_is_named_by_option_or_configuration(taker: Taker, tmp_path: Path) -> None:
    server = UnixLmtp(taker, unix_socket=str(tmp_path / "s"))
    server.start()
    try:
        make_site(tmp_path, '[lmtp]\nlisten = ["unix:s"]\n').do("send", "--from", "a@x", "--to", "b@x")
        make_site(tmp_path).do("send", "--from", "a@x", "--to", "b@x", "--socket", tmp_path / "s")
    finally:
        server.stop()
    assert len(taker.envelopes) == 2


@pytest.mark.parametrize("place", [["--host", "127.0.0.1:1"], ["--socket", "/nonexistent/s"], []])
def test_where_nobody_listens_it_says_so(site: StoppedSite, place: list[str]) -> None:
    done = site.call("send", "--from", "a@x", "--to", "b@x", *place)
    assert done.code == 1
    assert "nobody answers at" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "a@x"],
        ["--to", "b@x"],
        ["--from", "a@x", "--to", "b@x\r\nDATA"],
        ["--from", "a@x", "--to", "b@x", "--host", "nonsense"],
        ["--from", "a@x", "--to", "b@x", "--host", "h:1", "--socket", "s"],
    ],
)
def test_wrong_use_is_told(site: StoppedSite, arguments: list[str]) -> None:
    done = site.call("send", *arguments)
    assert done.code == 2
    assert done.err.count("\n") == 1


def test_a_file_that_is_not_there_is_told(site: StoppedSite) -> None:
    done = site.call("send", "--from", "a@x", "--to", "b@x", "--file", "/nonexistent")
    assert (done.code, done.err) == (1, "postroom: /nonexistent: No such file or directory\n")
