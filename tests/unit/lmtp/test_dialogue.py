"""Whole dialogues, without a socket: what the client sends, what must come back."""

import pytest

from bus.messages import Flow
from config.names import Queue
from lists.address import Destination
from lists.policy import Refused, Taken
from lists.posts import Post
from lmtp import replies
from lmtp.reading import MAX_TURN_S
from lmtp.states import Delay, Pause, Publish
from tests.support.lmtp_parts import GREETING, LHLO, LINES_OF_LHLO, Talk, begun, make_parts, stuff

ANNE = b"MAIL FROM:<anne@example.net>\r\n"
ANT = b"RCPT TO:<ant@example.org>\r\n"
BEE = b"RCPT TO:<bee@example.org>\r\n"
NOBODY = b"RCPT TO:<nobody@example.org>\r\n"
SMALL = b"RCPT TO:<small@example.org>\r\n"
DATA = b"DATA\r\n"
MAIL = b"Message-ID: <1@example.net>\r\n\r\nhello\r\n"


def test_the_greeting_names_the_site_and_no_product() -> None:
    """Whoever asks from outside learns no version."""
    assert Talk(make_parts()).output == GREETING


def test_lhlo_offers_what_is_kept() -> None:
    """RFC 2033 5 asks for PIPELINING and ENHANCEDSTATUSCODES."""
    answer = Talk(make_parts(max_size=12_000_000)).send(LHLO)
    assert answer == (
        b"250-lists.example.org\r\n250-PIPELINING\r\n250-ENHANCEDSTATUSCODES\r\n"
        b"250-8BITMIME\r\n250-SMTPUTF8\r\n"
        b"250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE\r\n250 SIZE 12000000\r\n"
    )


@pytest.mark.parametrize("command", [ANNE, ANT, DATA])
def test_nothing_of_a_transaction_comes_before_lhlo(command: bytes) -> None:
    """NOOP, RSET and VRFY do."""
    talk = Talk(make_parts())
    assert talk.codes(command) == ["503 5.5.1"]
    assert talk.codes(b"NOOP\r\nRSET\r\nVRFY ant\r\n") == ["250 2.0.0", "250 2.0.0", "252 2.0.0"]


def test_each_accepted_recipient_gets_its_own_final_reply() -> None:
    """RFC 2033 4.2: for accepted recipients only, in their order."""
    talk = begun()
    assert talk.codes(ANNE + ANT + NOBODY + BEE + DATA) == [
        "250 2.1.0",
        "250 2.1.5",
        "550 5.1.1",
        "250 2.1.5",
        "354 End d",
    ]
    answer = talk.send(stuff(MAIL)).decode().splitlines()
    items = [item for item, _ in talk.parts.front.published]
    assert [item.recipient for item in items] == ["ant@example.org", "bee@example.org"]
    assert answer == [f"250 2.0.0 Accepted {item.id}" for item in items]
    assert [content for _, content in talk.parts.front.published] == [MAIL, MAIL]


def test_a_recipient_named_twice_is_one_item_and_two_replies() -> None:
    """In whatever case it is written; the replies stand where the RCPTs stood."""
    talk = begun()
    talk.send(ANNE + ANT + BEE + b"RCPT TO:<ANT@Example.Org>\r\n" + DATA)
    answer = talk.send(stuff(MAIL)).decode().split()
    ant, bee = (item.id for item, _ in talk.parts.front.published)
    assert [word for word in answer if len(word) == 32] == [ant, bee, ant]


def test_final_replies_come_before_the_reply_to_a_quit_behind_the_dot() -> None:
    """Postfix sends "." and QUIT in one segment and takes a 221 that comes too early for the last recipient's success."""
    talk = begun()
    talk.send(ANNE + ANT + BEE + DATA)
    assert talk.codes(stuff(MAIL) + b"QUIT\r\n") == ["250 2.0.0", "250 2.0.0", "221 2.0.0"]
    assert talk.dialogue.is_closing


def test_commands_wait_while_the_bus_is_asked() -> None:
    """And are answered in order afterwards."""
    talk = Talk(make_parts(), hold=True)
    talk.send(LHLO)
    assert talk.codes(ANNE + ANT + DATA + stuff(MAIL) + b"NOOP\r\n" + ANNE) == [
        "250 2.1.0",
        "250 2.1.5",
        "354 End d",
    ]
    assert talk.give()
    assert talk.output.splitlines()[-3][:9] == b"250 2.0.0"
    assert talk.output.endswith(replies.OK.wire + replies.SENDER_OK.wire)


def test_two_messages_in_one_write() -> None:
    """Whole transactions pipelined before and after the dot."""
    talk = begun()
    once = ANNE + ANT + DATA + stuff(MAIL)
    codes = ["250 2.1.0", "250 2.1.5", "354 End d", "250 2.0.0"]
    assert talk.codes(once + once + b"RSET\r\n") == [*codes, *codes, "250 2.0.0"]


def test_data_without_a_recipient_is_503_and_reads_no_message() -> None:
    """RFC 2033 4.2; Postfix has sent DATA already and goes on with RSET and QUIT."""
    talk = begun()
    assert talk.codes(ANNE + NOBODY + NOBODY + DATA) == ["250 2.1.0", "550 5.1.1", "550 5.1.1", "503 5.5.1"]
    assert talk.codes(b"RSET\r\nQUIT\r\n") == ["250 2.0.0", "221 2.0.0"]


def test_data_behind_a_refused_mail_is_503() -> None:
    """And so is RCPT."""
    talk = begun(max_size=1000)
    assert talk.codes(b"MAIL FROM:<a@b> SIZE=1001\r\n" + ANT + DATA) == [
        "552 5.3.4",
        "503 5.5.1",
        "503 5.5.1",
    ]


def test_a_second_mail_needs_a_reset() -> None:
    """RFC 5321 4.1.4: 503, and the transaction goes on."""
    talk = begun()
    assert talk.codes(ANNE + ANNE + ANT + ANNE) == ["250 2.1.0", "503 5.5.1", "250 2.1.5", "503 5.5.1"]
    assert talk.codes(b"RSET\r\n" + ANNE) == ["250 2.0.0", "250 2.1.0"]


def test_lhlo_again_resets() -> None:
    """RFC 5321 4.1.4."""
    talk = begun()
    talk.send(ANNE + ANT + LHLO)
    assert talk.codes(DATA) == ["503 5.5.1"]


@pytest.mark.parametrize("recipients", [1, 2, 5])
def test_too_big_is_told_each_recipient_after_the_whole_message_was_read(recipients: int) -> None:
    """552 5.3.4, and the session is in step."""
    talk = begun(max_size=1000)
    talk.send(ANNE + ANT * recipients + DATA)
    assert talk.codes(stuff(b"x" * 5000 + b"\r\n") + b"NOOP\r\n") == ["552 5.3.4"] * recipients + [
        "250 2.0.0"
    ]
    assert talk.parts.front.published == []


def test_a_size_beyond_the_limit_is_refused_at_mail() -> None:
    """RFC 1870 6.1: before a single octet of the message; the limit itself is no size beyond it."""
    talk = begun(max_size=1000)
    assert talk.codes(b"MAIL FROM:<a@b> SIZE=1001\r\n" + ANT) == ["552 5.3.4", "503 5.5.1"]
    assert talk.codes(b"MAIL FROM:<a@b> SIZE=1000\r\n" + ANT) == ["250 2.1.0", "250 2.1.5"]


def test_what_is_beyond_ascii_needs_no_declaration() -> None:
    """Exim and OpenSMTPD declare neither BODY=8BITMIME nor SMTPUTF8 (RFC 6152, 6531), and send both."""
    talk = begun()
    talk.send("MAIL FROM:<grüße@example.net>\r\nRCPT TO:<ant@example.org>\r\nDATA\r\n".encode())
    mail = "Subject: Ελλάδα\r\n\r\n".encode() + bytes(range(0x80, 0x100)) + b"\r\n"
    assert talk.codes(stuff(mail)) == ["250 2.0.0"]
    ((item, content),) = talk.parts.front.published
    assert (item.reverse_path, content) == ("grüße@example.net", mail)


def test_a_size_that_was_said_too_small_does_not_matter() -> None:
    """Sendmail says less than it sends: the octets count."""
    talk = begun(max_size=1000)
    assert (
        talk.codes(b"MAIL FROM:<a@b> SIZE=10\r\n" + ANT + DATA + stuff(b"x" * 900 + b"\r\n"))[-1]
        == "250 2.0.0"
    )


@pytest.mark.parametrize("bad", [b"a\nb\r\n", b"a\rb\r\n", b"a\n.\nb\r\n", b"\r\r\n"])
def test_a_bare_cr_or_lf_is_told_each_recipient(bad: bytes) -> None:
    """550 5.6.11: what MTAs understand differently must not pass."""
    talk = begun()
    talk.send(ANNE + ANT + BEE + DATA)
    assert talk.codes(stuff(bad) + b"NOOP\r\n") == ["550 5.6.11"[:9], "550 5.6.11"[:9], "250 2.0.0"]


def test_the_message_of_some_recipients_can_be_refused() -> None:
    """The others still get it."""
    talk = begun()
    talk.send(ANNE + SMALL + ANT + SMALL + DATA)
    assert talk.codes(stuff(b"x" * 200 + b"\r\n")) == ["552 5.3.4", "250 2.0.0", "552 5.3.4"]
    assert [item.recipient for item, _ in talk.parts.front.published] == ["ant@example.org"]


def test_a_refusal_asks_the_store_once_for_everything_read_so_far() -> None:
    """A thousand refused recipients in one segment are one question; a later one is another."""
    talk = begun()
    assert talk.codes(ANNE + NOBODY * 100) == ["250 2.1.0"] + ["550 5.1.1"] * 100
    assert talk.assured == 1
    talk.send(NOBODY)
    assert talk.assured == 2


def test_a_list_made_a_moment_ago_is_not_refused() -> None:
    """The snapshot was made current between question and answer, so the same recipient is judged again."""
    talk = Talk(make_parts(), hold=True)
    talk.send(LHLO + ANNE + NOBODY)
    talk.parts.lists.known.add("nobody")
    talk.give()
    assert talk.output.endswith(replies.RECIPIENT_OK.wire)


def test_a_store_that_cannot_be_asked_is_451_and_not_550() -> None:
    """P2: at RCPT and at the end of DATA; what needs no refusal is taken from the snapshot."""
    talk = begun()
    talk.is_current = False
    assert talk.codes(ANNE + NOBODY + NOBODY + ANT + SMALL + DATA) == [
        "250 2.1.0",
        "451 4.3.0",
        "451 4.3.0",
        "250 2.1.5",
        "250 2.1.5",
        "354 End d",
    ]
    assert talk.codes(stuff(b"x" * 200 + b"\r\n")) == ["250 2.0.0", "451 4.3.0"]


@pytest.mark.parametrize(
    "outcome", [replies.NOT_CONFIRMED, replies.STOPPED, replies.BUSY, replies.TOO_BIG, replies.FAILED]
)
def test_what_the_bus_does_not_store_is_told_each_recipient(outcome: replies.Reply) -> None:
    """And the session goes on."""
    talk = begun()
    talk.outcome = outcome
    talk.send(ANNE + ANT + SMALL + BEE + DATA)
    answer = talk.send(stuff(b"x" * 200 + b"\r\n") + ANNE)
    assert (
        answer
        == outcome.wire
        + b"552 5.3.4 Message is too big for this list\r\n"
        + outcome.wire
        + replies.SENDER_OK.wire
    )
    assert talk.dialogue.answered.ids == []


def test_an_error_of_ours_at_rcpt_is_451_and_the_session_goes_on() -> None:
    """No exception is shown to the client; the log has it with its traceback."""
    talk = begun()
    talk.send(ANNE + ANT)
    talk.parts.lists.error = RuntimeError("db down /var/secret")
    assert talk.send(BEE) == replies.FAILED.wire
    talk.parts.lists.error = None
    assert talk.codes(BEE + DATA + stuff(MAIL)) == ["250 2.1.5", "354 End d", "250 2.0.0", "250 2.0.0"]
    assert "db down" in talk.parts.events("lmtp.failed")[0]["error"]


def test_a_rule_that_raises_is_451_for_its_recipient_alone() -> None:
    """The others are taken or refused as if nothing had been; the log has list and traceback."""
    talk = begun()
    talk.parts.lists.broken = {"bee"}
    talk.send(ANNE + ANT + BEE + SMALL + ANT + DATA)
    assert [line[:9] for line in talk.send(stuff(b"x" * 200 + b"\r\n")).splitlines()] == [
        b"250 2.0.0",
        b"451 4.3.0",
        b"552 5.3.4",
        b"250 2.0.0",
    ]
    failed = talk.parts.events("lmtp.failed")
    assert {(line["list_id"], line["recipient"]) for line in failed} == {
        ("bee.example.org", "bee@example.org")
    }
    assert all(isinstance(line["exc_info"], RuntimeError) for line in failed)
    assert [item.list_id for item, _ in talk.parts.front.published] == ["ant.example.org"]


def test_the_log_names_the_rule_that_refused_a_message() -> None:
    """As for RCPT; a postmaster greps for it."""
    talk = begun()
    talk.send(ANNE + SMALL + DATA + stuff(b"x" * 200 + b"\r\n"))
    assert [line["rule"] for line in talk.parts.events("lmtp.refused")] == ["max-message-size"]


def test_an_error_of_ours_at_the_end_of_data_is_451_for_each_recipient() -> None:
    """And the next message is taken."""
    talk = begun()
    talk.send(ANNE + ANT + BEE + ANT + DATA)
    judge_data = talk.parts.lists.judge_data
    talk.parts.lists.judge_data = None  # type: ignore[assignment,method-assign]
    assert talk.send(stuff(MAIL) + b"NOOP\r\n") == replies.FAILED.wire * 3 + replies.OK.wire
    talk.parts.lists.judge_data = judge_data  # type: ignore[method-assign]
    assert talk.codes(ANNE + ANT + DATA + stuff(MAIL))[-1] == "250 2.0.0"


def test_an_error_behind_the_replies_adds_none() -> None:
    """A log that cannot be written must not bring the client out of step."""
    talk = begun()
    talk.send(ANNE + ANT + BEE + DATA)
    talk.parts.service.report.message_answered = None  # type: ignore[assignment,method-assign]
    assert talk.codes(stuff(MAIL) + b"NOOP\r\n") == ["250 2.0.0"] * 3
    assert talk.parts.events("lmtp.failed")


def test_flow_stop_is_told_at_mail() -> None:
    """452 4.3.1: disk, memory or journal; nothing can be taken."""
    talk = begun()
    talk.parts.front.flow = Flow(state="stop", reason="disk")
    assert talk.codes(ANNE + ANT) == ["452 4.3.1", "503 5.5.1"]


def test_a_full_queue_is_told_its_own_addresses_only() -> None:
    """Mail for other queues goes on."""
    talk = begun()
    talk.parts.lists.queues["bee"] = Queue("bounces")
    talk.parts.front.flow = Flow(full=(Queue("bounces"),))
    assert talk.codes(ANNE + BEE + ANT) == ["250 2.1.0", "452 4.3.1", "250 2.1.5"]


def test_without_a_bus_or_lists_mail_is_451() -> None:
    """The MTA comes again."""
    talk = begun()
    talk.parts.front.connected = False
    assert talk.codes(ANNE) == ["451 4.3.0"]
    talk.parts.front.connected = True
    talk.parts.service.is_loaded = False
    assert talk.codes(ANNE) == ["451 4.3.0"]


def test_more_recipients_than_the_limit_are_452() -> None:
    """RFC 5321 4.5.3.1.10; those before it are served."""
    talk = begun(max_recipients=100)
    codes = talk.codes(ANNE + ANT * 102 + DATA + stuff(MAIL))
    assert codes[1:104] == ["250 2.1.5"] * 100 + ["452 4.5.3"] * 2 + ["354 End d"]
    assert codes[104:] == ["250 2.0.0"] * 100


def test_the_null_reverse_path_is_an_empty_string() -> None:
    """RFC 5321 4.5.5; aiosmtpd calls it '<>'."""
    talk = begun()
    talk.send(b"MAIL FROM:<> SIZE=421\r\n" + b"RCPT TO:<closed@example.org>\r\n" + DATA + stuff(MAIL))
    assert [item.reverse_path for item, _ in talk.parts.front.published] == [""]


def test_an_endless_line_is_one_refusal_and_little_memory() -> None:
    """A megabyte without a line end; then the session is in step again."""
    talk = begun()
    for _ in range(100):
        assert talk.send(b"x" * 10_000) == b""
        assert talk.dialogue.waiting <= 4096
    assert talk.send(b"\r\nNOOP\r\n") == replies.LINE_TOO_LONG.wire + replies.OK.wire


def test_many_commands_leave_others_their_turn() -> None:
    """10,000 NOOPs in one segment are answered in pieces."""
    talk = Talk(make_parts(max_commands=20_000), hold=True)
    talk.send(LHLO + b"NOOP\r\n" * 10_000)
    turns = 0
    while talk.give():
        turns += 1
    assert talk.output.count(replies.OK.wire) == 10_000
    assert turns >= 10


def test_a_client_that_does_not_read_is_answered_no_further() -> None:
    """What it sends waits, and is answered when it reads."""
    talk = begun()
    talk.dialogue.is_held = True
    assert talk.send(b"NOOP\r\nNOOP\r\n") == b""
    talk.dialogue.resume()
    assert talk.dialogue.take_output() == replies.OK.wire * 2


def test_a_client_that_reads_again_does_not_shorten_a_delay() -> None:
    """Else whoever stops reading for a moment has no delay at all."""
    talk = Talk(make_parts(), hold=True)
    talk.parts.front.flow = Flow(delay_ms=250)
    talk.send(LHLO)
    talk.dialogue.is_held = True
    talk.dialogue.resume()
    talk.send(ANNE)
    talk.dialogue.is_held = True
    talk.dialogue.resume()
    assert talk.dialogue.take_output() == b""
    assert talk.give()
    assert talk.output.endswith(replies.SENDER_OK.wire)


def test_a_goodbye_gives_every_reply_that_is_owed() -> None:
    """Final replies first, then 421; what the bus says later changes nothing."""
    talk = Talk(make_parts(), hold=True)
    talk.send(LHLO + ANNE + ANT + BEE + DATA)
    assert talk.send(stuff(MAIL)) == b""
    talk.dialogue.say_goodbye(replies.SHUTTING_DOWN)
    assert talk.dialogue.take_output() == replies.BUSY.wire * 2 + replies.SHUTTING_DOWN.wire
    talk.give()
    assert talk.output.count(b"Accepted") == 0
    assert talk.dialogue.is_closing


def test_items_carry_what_the_runners_and_the_trace_need() -> None:
    """Envelope, destination, size, Message-ID and who handed it in."""
    import msgspec

    talk = begun()
    talk.send(ANNE + ANT + DATA + stuff(MAIL))
    ((item, content),) = talk.parts.front.published
    assert (item.root_id, item.queue, item.list_id) == (item.id, "incoming", "ant.example.org")
    assert (item.reverse_path, item.recipient) == ("anne@example.net", "ant@example.org")
    assert (item.message_id, item.size, content) == ("<1@example.net>", len(MAIL), MAIL)
    client = msgspec.msgpack.decode(item.args["client"])
    assert client == {"addr": "192.0.2.1", "lhlo": "mx.example.net", "session": "s-1"}


def test_the_log_has_one_line_for_each_recipient() -> None:
    """With the reply, and without a confirmation token."""
    parts = make_parts()
    parts.lists.known |= {"ant-confirm+abcdefgh"}
    talk = begun(parts)
    talk.send(ANNE + NOBODY + ANT + b"RCPT TO:<ant-confirm+ABCDEFGH@example.org>\r\n")
    talk.send(b"RCPT TO:<bad-confirm+SECRET@example.org>\r\n" + DATA + stuff(MAIL))
    refused, accepted = parts.events("lmtp.refused"), parts.events("lmtp.accepted")
    assert [(line["recipient"], line["reply"][:9]) for line in refused] == [
        ("nobody@example.org", "550 5.1.1"),
        ("bad-confirm+...@example.org", "550 5.1.1"),
    ]
    assert [line["recipient"] for line in accepted] == ["ant@example.org", "ant-confirm+...@example.org"]
    assert all(line["session"] == "s-1" for line in refused + accepted)
    assert accepted[0]["reply"] == f"250 2.0.0 Accepted {accepted[0]['item_id']}"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("ant-CONFIRM+SECRET@example.org", "ant-CONFIRM+...@example.org"),
        ('"ant-confirm\\+SECRET"@example.org', '"ant-confirm+...@example.org'),
        ('"ant-c\\onfirm+SECRET"@example.org', '"ant-confirm+...@example.org'),
        ('"ant-confirm+a@SECRET"@example.org', '"ant-confirm+...@example.org'),
        ('"a\\"nt-confirm+SECRET"@example.org', '"a"nt-confirm+...@example.org'),
        (
            "SRS0=h=t=example.org=ant-confirm+SECRET@out.example",
            "SRS0=h=t=example.org=ant-confirm+...@out.example",
        ),
    ],
)
def test_no_spelling_of_an_address_brings_a_token_into_the_log(address: str, shown: str) -> None:
    """As sender or recipient, refused or taken."""
    parts = make_parts()
    talk = begun(parts)
    mail, rcpt = f"MAIL FROM:<{address}>", f"RCPT TO:<{address}>"
    talk.send(f"{mail} SIZE=99999999999\r\n{mail}\r\n{rcpt}\r\n".encode() + ANT + SMALL + DATA)
    talk.send(stuff(b"x" * 200 + b"\r\n"))
    lines = parts.events("lmtp.refused") + parts.events("lmtp.accepted")
    assert [line["reverse_path"] for line in lines] == [shown] * 4
    assert lines[1]["recipient"] == shown
    assert "SECRET" not in str(lines)


def test_a_stop_says_what_is_missing() -> None:
    """Space is 452 4.3.1; memory and a journal that does not get on are 451 4.3.2."""
    talk = begun()
    for reason, expected in (("disk", "452 4.3.1"), ("memory", "451 4.3.2"), ("journal", "451 4.3.2")):
        talk.parts.front.flow = Flow(state="stop", reason=reason)
        assert talk.codes(ANNE) == [expected]


def test_a_bus_that_falls_behind_delays_mail_and_nothing_else() -> None:
    """What is pipelined behind MAIL waits with it; nobody waits who asks for nothing."""
    talk = Talk(make_parts(), hold=True)
    talk.parts.front.flow = Flow(delay_ms=250)
    assert talk.codes(LHLO + b"NOOP\r\n")[-1] == "250 2.0.0"
    assert talk.codes(ANNE + ANT + b"NOOP\r\n") == []
    want = talk.dialogue.want
    assert isinstance(want, Delay)
    assert want.seconds == 0.25
    assert talk.give()
    assert [line[:9] for line in talk.output.splitlines()[-3:]] == [b"250 2.1.0", b"250 2.1.5", b"250 2.0.0"]


def test_a_goodbye_during_a_delay_is_the_last_word() -> None:
    """The answer that was to come later does not come."""
    talk = Talk(make_parts(), hold=True)
    talk.parts.front.flow = Flow(delay_ms=250)
    talk.send(LHLO + ANNE)
    talk.dialogue.say_goodbye(replies.SHUTTING_DOWN)
    talk.give()
    assert talk.output.endswith(replies.SHUTTING_DOWN.wire)


def test_a_goodbye_while_the_store_is_asked_is_the_last_word() -> None:
    """For RCPT; a message whose dot was read is still judged and stored."""
    talk = Talk(make_parts(), hold=True)
    talk.send(LHLO + ANNE + NOBODY)
    talk.dialogue.say_goodbye(replies.SHUTTING_DOWN)
    talk.give()
    assert talk.output.endswith(replies.SHUTTING_DOWN.wire)


@pytest.mark.parametrize(
    "octets", [b"\x16\x03\x01", b"\x16\x03\x01\x02\x00\x01\n\r\n", b"\x16\x03" + b"x" * 5000]
)
def test_tls_on_a_plain_port_is_ended_at_once(octets: bytes) -> None:
    """A TLS hello may have no line end: both sides would wait for ever."""
    talk = Talk(make_parts())
    assert talk.codes(octets) == ["421 4.7.0"]
    assert talk.dialogue.is_closing


def test_http_is_ended_at_its_first_line() -> None:
    """What an attacker made a browser send in the body of a POST is not read."""
    talk = Talk(make_parts())
    body = LHLO + ANNE + ANT + DATA + stuff(MAIL)
    assert talk.codes(b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n" + body) == ["421 4.7.0"]
    assert talk.parts.front.published == []


def test_long_lines_are_kept_as_they_are() -> None:
    """Over 998 octets and over any buffer; RFC 5321 4.5.3.1.6 asks for 1000 at least."""
    content = b"Subject: long\r\n\r\n" + b"x" * 998 + b"\r\n" + b"y" * 300_000 + b"\r\n"
    talk = begun()
    assert talk.codes(ANNE + ANT + DATA + stuff(content))[-1] == "250 2.0.0"
    assert [stored for _, stored in talk.parts.front.published] == [content]


def test_one_odd_address_after_the_other_leaves_others_their_turn() -> None:
    """The parser of odd addresses takes up to a millisecond for one: a turn ends by the clock, not only by the count."""
    talk = Talk(make_parts(max_commands=10_000, max_errors=10_000), hold=True, odd_takes_s=MAX_TURN_S / 3.5)
    talk.send(LHLO)
    odd = b"MAIL FROM:<@" + b"a." * 100 + b"a:" + b'"x"' * 30 + b"@example.net>\r\n"
    talk.send(odd * 100)
    turns = 1
    while talk.give():
        turns += 1
    assert talk.output.count(b"\r\n") == LINES_OF_LHLO + 1 + 100
    assert talk.now_s == pytest.approx(100 * MAX_TURN_S / 3.5), "each was parsed once"
    assert turns == 25


def test_a_list_that_is_named_a_thousand_times_is_asked_once_about_a_message() -> None:
    """Its rules may take 20 ms; a thousand times that would be an end to everybody else."""
    talk = begun(make_parts())
    talk.send(ANNE + ANT * 500 + BEE + ANT * 499 + DATA)
    assert talk.codes(stuff(MAIL)) == ["250 2.0.0"] * 1000
    assert talk.parts.lists.asked_data == ["ant", "bee"]


def test_rules_that_take_long_leave_others_their_turn() -> None:
    """Each list is asked once, and the replies are those of a dialogue without pauses."""
    parts = make_parts()
    now = [0.0]
    parts.service.monotonic = lambda: now[0]
    judge = parts.lists.judge_data

    def judge_slowly(destination: Destination, post: Post, *, is_report: bool = False) -> Taken | Refused:
        now[0] += 2 * MAX_TURN_S
        return judge(destination, post, is_report=is_report)

    parts.lists.judge_data = judge_slowly  # type: ignore[method-assign]
    names = [f"list{number}" for number in range(10)]
    parts.lists.known.update(names)
    talk = begun(parts)
    talk.send(ANNE + b"".join(b"RCPT TO:<%b@example.org>\r\n" % name.encode() for name in names) + DATA)
    talk.hold = True
    talk.send(stuff(MAIL))
    wants = []
    while talk.dialogue.want is not None:
        wants.append(type(talk.dialogue.want))
        talk.give()
    assert wants == [Pause] * 9 + [Publish]
    assert parts.lists.asked_data == names
    assert talk.output.count(b"250 2.0.0 Accepted") == 10


def test_a_refusal_behind_the_dot_is_judged_anew_by_a_newer_snapshot() -> None:
    """Every list is asked again, since any of them may have moved."""
    talk = begun(make_parts())
    talk.send(ANNE + ANT + SMALL + SMALL + DATA)
    assert talk.codes(stuff(b"x" * 200 + b"\r\n")) == ["250 2.0.0", "552 5.3.4", "552 5.3.4"]
    assert talk.parts.lists.asked_data == ["ant", "small"] * 2
    assert talk.assured == 1


def test_a_stop_while_a_message_is_judged_gives_every_reply_once() -> None:
    """The turn that was to come answers nobody."""
    parts = make_parts()
    parts.service.monotonic = iter(range(10_000)).__next__
    talk = begun(parts)
    talk.send(ANNE + ANT + BEE + DATA)
    talk.hold = True
    talk.send(stuff(MAIL))
    assert isinstance(talk.dialogue.want, Pause)
    before = len(talk.output)
    talk.dialogue.say_goodbye(replies.SHUTTING_DOWN)
    while talk.give():
        pass
    assert talk.output[before:] == replies.BUSY.wire * 2 + replies.SHUTTING_DOWN.wire
    assert not parts.front.published
