"""Commands and errors in a row."""

import pytest

from lmtp import replies
from lmtp.conduct import Conduct
from tests.support.lmtp_parts import begun

TRANSACTION = b"MAIL FROM:<anne@example.net>\r\nRCPT TO:<ant@example.org>\r\nRSET\r\n"
REFUSED = b"MAIL FROM:<anne@example.net>\r\nRCPT TO:<nobody@example.org>\r\nRSET\r\n"


def test_one_command_too_many_ends_the_session() -> None:
    """The limit itself is still answered."""
    conduct = Conduct(3, 3)
    assert [conduct.count(is_error=False) for _ in range(4)] == [None] * 3 + [replies.TOO_MANY_COMMANDS]


def test_one_error_too_many_ends_the_session() -> None:
    """Postfix: smtpd_hard_error_limit, Sendmail: MaxBadCommands."""
    conduct = Conduct(100, 2)
    assert [conduct.count(is_error=True) for _ in range(3)] == [None] * 2 + [replies.TOO_MANY_ERRORS]


def test_a_recipient_that_is_taken_sets_both_back() -> None:
    """But not the count of all that was answered."""
    conduct = Conduct(2, 1)
    for _ in range(10):
        assert conduct.count(is_error=True) is None
        conduct.forgive()
    assert conduct.answered == 10


def test_callouts_may_go_on_for_ever() -> None:
    """MAIL, RCPT, RSET: RCPT without DATA is a main use."""
    talk = begun(max_commands=100)
    assert set(talk.codes(TRANSACTION * 500)) == {"250 2.1.0", "250 2.1.5", "250 2.0.0"}


def test_commands_that_lead_to_nothing_end_with_421() -> None:
    """The one over the limit is not answered on its merits, and nothing behind it is."""
    talk = begun(max_commands=100)  # LHLO was the first
    assert talk.codes(b"NOOP\r\n" * 200) == ["250 2.0.0"] * 99 + ["421 4.7.0"]
    assert talk.dialogue.is_closing


def test_refused_recipients_are_commands_that_lead_to_nothing() -> None:
    """Whoever tries addresses one after the other must connect again and again."""
    talk = begun(max_commands=100)
    codes = talk.codes(REFUSED * 40)
    assert codes[-1] == "421 4.7.0"
    assert len(codes) == 100


@pytest.mark.parametrize(
    "line", [b"WHAT\r\n", b"NOOP\n", b"\r\n", b"MAIL FROM:a@b\r\n", b"x" * 3000 + b"\r\n"]
)
def test_lines_that_are_no_command_end_with_421(line: bytes) -> None:
    """After 20 in a row by default."""
    talk = begun()
    codes = talk.codes(line * 30)
    assert codes[-1] == "421 4.7.0"
    assert len(codes) == 21
    assert codes[0].startswith("50")


def test_what_is_refused_for_order_or_policy_is_no_error() -> None:
    """A client that pipelines sends RCPT and DATA behind a MAIL that was refused."""
    talk = begun(max_errors=1, max_size=1000)
    codes = talk.codes((b"MAIL FROM:<a@b> SIZE=2000\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n") * 5)
    assert codes == ["552 5.3.4", "503 5.5.1", "503 5.5.1"] * 5


@pytest.mark.parametrize(
    "line", [b"MAIL FROM:<a@-b.example>\r\n", b"MAIL FROM:<a@b>\r\nRCPT TO:<a..b@example.org>\r\nRSET\r\n"]
)
def test_addresses_that_are_none_are_no_errors_of_the_client(line: bytes) -> None:
    """An MTA passes on what people write: 21 strange senders in a row must not end its session, which other mail shares."""
    talk = begun(max_errors=1)
    codes = talk.codes(line * 10)
    assert {"553 5.1.7", "553 5.1.3"} & set(codes)
    assert "421 4.7.0" not in codes
