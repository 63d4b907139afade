"""The command parser."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmtp import replies
from lmtp.addresses import parse_odd
from lmtp.commands import (
    MAX_COMMAND,
    Command,
    Data,
    Lhlo,
    Mail,
    Noop,
    Quit,
    Rcpt,
    Rset,
    StartTls,
    Vrfy,
    Xforward,
    parse,
)
from lmtp.replies import Reply

TAKEN: list[tuple[bytes, Command]] = [
    (b"LHLO mx.example.net", Lhlo("mx.example.net")),
    (b"lhlo vm", Lhlo("vm")),  # OpenSMTPD's name has no dot
    (b"LHLO [IPv6:::1] ", Lhlo("[IPv6:::1]")),
    (b"MAIL FROM:<anne@example.net>", Mail("anne@example.net")),
    (b"MAIL From:<anne@example.net>", Mail("anne@example.net")),  # Sendmail's way to write it
    (b"mail from: <anne@example.net>", Mail("anne@example.net")),
    (b"MAIL FROM:<>", Mail("")),
    (b"MAIL FROM:<> SIZE=421", Mail("", 421)),
    (b"MAIL FROM:<a@b> SIZE=10 BODY=8BITMIME SMTPUTF8", Mail("a@b", 10)),
    (b"MAIL FROM:<a@b> body=7bit size=99999999999999999999", Mail("a@b", 10**20 - 1)),
    (
        "MAIL FROM:<grüße@example.net>".encode(),
        Mail("grüße@example.net"),
    ),  # Exim and OpenSMTPD do not declare it
    (b"RCPT TO:<ant@example.org>", Rcpt("ant@example.org")),
    (b"RCPT To:<ant@example.org> ", Rcpt("ant@example.org")),
    (b"RCPT TO:<Postmaster>", Rcpt("postmaster")),
    (b"RCPT TO:<@relay:ant@example.org>", Rcpt("ant@example.org")),
    (b"DATA", Data()),
    (b"data ", Data()),
    (b"RSET", Rset()),
    (b"NOOP", Noop()),
    (b"NOOP whatever", Noop()),
    (b"VRFY ant", Vrfy()),
    (b"QUIT", Quit()),
    (b"StartTLS", StartTls()),
    (b"xforward name=a", Xforward({"name": "a"})),
]
REFUSED = [
    (b"HELO mx.example.net", replies.NOT_LMTP),
    (b"EHLO mx.example.net", replies.NOT_LMTP),
    (b"LHLO", replies.LHLO_SYNTAX),
    (b"LHLO two names", replies.LHLO_SYNTAX),
    (b"LHLO " + b"a" * 256, replies.LHLO_SYNTAX),
    (b"LHLO \xff", replies.BAD_SYNTAX),
    ("LHLO a\x9b2J".encode(), replies.BAD_SYNTAX),
    (b"MAIL", replies.MAIL_SYNTAX),
    (b"MAIL TO:<a@b>", replies.MAIL_SYNTAX),
    (b"MAIL FROM:a@b", replies.MAIL_SYNTAX),
    (b"MAIL FROM:<a@b", replies.MAIL_SYNTAX),
    (b"MAIL FROM:<a>", replies.BAD_SENDER),
    (b"MAIL FROM:<postmaster>", replies.BAD_SENDER),
    (b"MAIL FROM:<a\xff@b>", replies.BAD_SENDER),
    (b"MAIL FROM:<a@b> SIZE=", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> SIZE=-1", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> SIZE=1 SIZE=2", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> SIZE=" + b"9" * 21, replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> BODY=BINARYMIME", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> BODY", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> SMTPUTF8=yes", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> =x", replies.BAD_PARAMETER),
    (b"MAIL FROM:<a@b> RET=HDRS", replies.UNKNOWN_PARAMETER),
    (b"RCPT TO:ant@example.org", replies.RCPT_SYNTAX),
    (b"RCPT FROM:<ant@example.org>", replies.RCPT_SYNTAX),
    (b"RCPT TO:<ant>", replies.BAD_RECIPIENT),
    (b"RCPT TO:<>", replies.BAD_RECIPIENT),
    (b"RCPT TO:<\xff@example.org>", replies.BAD_RECIPIENT),
    (b"RCPT TO:<ant@example.org> NOTIFY=NEVER", replies.UNKNOWN_PARAMETER),
    (b"RCPT TO:<ant@example.org> NOTIFY=", replies.BAD_PARAMETER),
    (b"DATA now", replies.NO_ARGUMENT),
    (b"RSET now", replies.NO_ARGUMENT),
    (b"QUIT now", replies.NO_ARGUMENT),
    (b"VRFY", replies.BAD_ARGUMENT),
    (b"EXPN ant", replies.NOT_IMPLEMENTED),
    (b"AUTH PLAIN", replies.NOT_IMPLEMENTED),
    (b"STARTTLS now", replies.NO_ARGUMENT),
    (b"XFORWARD NAME", replies.XFORWARD_SYNTAX),
    (b"BDAT 3 LAST", replies.NOT_IMPLEMENTED),
    (b"HELP", replies.NOT_IMPLEMENTED),
    (b"", replies.UNKNOWN_COMMAND),
    (b"GET / HTTP/1.1", replies.HTTP),
    (b"POST / HTTP/1.1", replies.HTTP),
    (b"PATCH / HTTP/1.1", replies.HTTP),
    (b"PRI * HTTP/2.0", replies.HTTP),
    (b"NOOP\x00", replies.BAD_SYNTAX),
    (b"RCPT TO:<ant@example.org>\rDATA", replies.BAD_SYNTAX),
    (b"\x16\x03\x01\x02", replies.TLS),  # TLS on a plain port
    (b"\x16\x04", replies.BAD_SYNTAX),
    (b"NOOP " + b"a" * MAX_COMMAND, replies.LINE_TOO_LONG),
]


@pytest.mark.parametrize(("line", "command"), TAKEN)
def test_commands_are_read(line: bytes, command: Command) -> None:
    """In any case, as real clients write them."""
    assert parse(line + b"\r\n", parse_odd) == command


@pytest.mark.parametrize(("line", "reply"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_command_is_refused_with_its_reason(line: bytes, reply: Reply) -> None:
    """Each with the code that RFC 5321 4.2.4 and RFC 3463 give it."""
    assert parse(line + b"\r\n", parse_odd) is reply


@pytest.mark.parametrize(("line", "_"), TAKEN)
def test_a_bare_lf_ends_no_command(line: bytes, _: Command) -> None:
    """RFC 5321 2.3.8: the line is refused, not carried out."""
    assert parse(line + b"\n", parse_odd) is replies.BARE_LF


@given(st.binary(max_size=100))
def test_any_line_is_read_or_refused(octets: bytes) -> None:
    """Nothing that a client can send raises."""
    parse(octets.replace(b"\n", b"") + b"\r\n", parse_odd)


@given(
    st.sampled_from([b"MAIL FROM:", b"RCPT TO:", b"mail from: "]),
    st.text('<>@" =SIZEBODYab8:,;()\\', max_size=60),
)
def test_any_argument_is_read_or_refused(verb: bytes, argument: str) -> None:
    """The same with the letters that matter."""
    parse(verb + argument.encode() + b"\r\n", parse_odd)
