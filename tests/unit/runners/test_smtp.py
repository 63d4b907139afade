"""The SMTP client against a real server on a real socket."""

import socket

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.settings import OutgoingSettings, Settings, SiteSettings
from runners.smtp import Away, Connection, ReplyLost, even_line_ends, wire_message
from tests.support.sink import Rule, Sink

MAIL = b"Subject: hello\r\n\r\nbody\r\n.dot\r\n"
TEN = tuple(f"m{number}@example.net" for number in range(10))


def make_connection(sink: Sink | str, **options: float) -> Connection:
    address = sink if isinstance(sink, str) else sink.address
    outgoing = OutgoingSettings(smtp=address, timeout_s=2.0, data_timeout_s=2.0)
    return Connection(
        Settings(
            site=SiteSettings(name="lists.example.org"),
            outgoing=msgspec.structs.replace(outgoing, **options),
        )
    )


def test_all_commands_of_a_transaction_leave_in_one_write() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        replies = connection.transact("ant-bounces@example.org", TEN, wire_message(MAIL))
        assert {code for code, _ in replies} == {250}
        assert sink.writes == [1, 12]  # EHLO; then MAIL, ten RCPT and DATA
        assert sink.transactions[0].accepted == TEN
        assert sink.transactions[0].content == MAIL
        assert sink.commands[0].upper() == "EHLO LISTS.EXAMPLE.ORG"
        connection.quit()


def test_a_connection_is_used_again_with_one_ehlo() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        for _ in range(3):
            connection.transact("", TEN[:1], wire_message(MAIL))
        connection.quit()
        assert sink.connections == 1
        assert sum(command.upper().startswith("EHLO") for command in sink.commands) == 1


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("8BITMIME",)])
def test_refused_recipients_do_not_stop_the_others(extensions: tuple[str, ...]) -> None:
    rules = [
        Rule(at="rcpt", like="m1@", reply="550 5.1.1 no such user"),
        Rule(at="rcpt", like="m2@", reply="450 4.2.1 later"),
    ]
    with Sink(rules, extensions=extensions) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", TEN[:4], wire_message(MAIL))
        assert replies[1] == (550, "5.1.1 no such user")
        assert replies[2] == (450, "4.2.1 later")
        assert [reply[0] for reply in replies] == [250, 550, 450, 250]
        assert sink.recipients() == [TEN[0], TEN[3]]
        connection.drop()


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
def test_a_refused_sender_is_the_answer_for_every_recipient(extensions: tuple[str, ...]) -> None:
    with Sink([Rule(at="mail", reply="550 5.7.1 not you", times=1)], extensions=extensions) as sink:
        connection = make_connection(sink)
        assert connection.transact("x@example.org", TEN[:2], wire_message(MAIL)) == (
            (550, "5.7.1 not you"),
            (550, "5.7.1 not you"),
        )
        assert sink.transactions == []
        again = connection.transact("x@example.org", TEN[:2], wire_message(MAIL))
        assert [code for code, _ in again] == [250, 250]
        assert "RSET" in sink.commands
        connection.drop()


@pytest.mark.parametrize("extensions", [("PIPELINING",), ()])
def test_when_every_recipient_is_refused_nothing_is_sent(extensions: tuple[str, ...]) -> None:
    with Sink([Rule(at="rcpt", reply="550 5.1.1 no")], extensions=extensions) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", TEN[:3], wire_message(MAIL))
        assert [code for code, _ in replies] == [550] * 3
        assert sink.transactions == []
        connection.drop()


def test_a_server_that_says_354_to_nobody_gets_an_empty_message() -> None:
    rules = [Rule(at="rcpt", reply="550 5.1.1 no"), Rule(at="data", reply="354 well then")]
    with Sink(rules) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", TEN[:2], wire_message(MAIL))
        assert [code for code, _ in replies] == [550, 550]
        assert sink.transactions[0].content == b""
        connection.drop()


@pytest.mark.parametrize(("at", "code"), [("data", 451), ("data", 554), ("dot", 452), ("dot", 550)])
def test_a_refused_message_is_the_answer_for_recipients_that_were_taken(at: str, code: int) -> None:
    rules = [Rule(at="rcpt", like="m1@", reply="553 5.1.3 odd"), Rule(at=at, reply=f"{code} x.y.z no")]
    with Sink(rules) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", TEN[:3], wire_message(MAIL))
        assert [reply[0] for reply in replies] == [code, 553, code]
        connection.drop()


def test_a_refused_connection_is_away() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "{}:{}".format(*free.getsockname())
    with pytest.raises(Away):
        make_connection(address).open()


@pytest.mark.parametrize(
    "rule",
    [
        Rule(at="connect", reply="421 4.3.2 too busy"),
        Rule(at="connect", reply="554 5.3.2 not today"),
        Rule(at="mail", reply="421 4.3.2 shutting down", close="after"),
        Rule(at="mail", reply="530 5.7.0 authentication required"),
        Rule(at="rcpt", like="m1", reply="421 4.3.2 shutting down", close="after"),
        Rule(at="data", close="before"),
        Rule(at="dot", reply="421 4.3.2 shutting down", close="after"),
    ],
)
def test_a_421_or_a_close_before_the_data_is_away(rule: Rule) -> None:
    with Sink([rule]) as sink, pytest.raises(Away):
        make_connection(sink).transact("x@example.org", TEN[:3], wire_message(MAIL))


@pytest.mark.slow
def test_silence_before_the_data_is_away() -> None:
    with Sink([Rule(at="data", delay_s=30)]) as sink, pytest.raises(Away):
        make_connection(sink, timeout_s=0.3).transact("x@example.org", TEN[:3], wire_message(MAIL))


@pytest.mark.slow
@pytest.mark.parametrize("rule", [Rule(at="dot", close="before"), Rule(at="dot", delay_s=30)])
def test_no_reply_to_the_final_dot_says_that_nobody_knows(rule: Rule) -> None:
    with Sink([rule]) as sink:
        with pytest.raises(ReplyLost):
            make_connection(sink, data_timeout_s=0.3).transact("x@example.org", TEN[:3], wire_message(MAIL))
        assert len(sink.transactions) == 1


def test_an_idle_connection_that_was_closed_is_opened_again() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        connection.transact("", TEN[:1], wire_message(MAIL))
        sink.close_connections()
        connection.transact("", TEN[:1], wire_message(MAIL))
        assert sink.connections == 2
        assert len(sink.transactions) == 2
        connection.drop()


def test_421_on_a_connection_that_was_used_is_tried_on_a_new_one() -> None:
    with Sink(
        [Rule(at="mail", like="second", reply="421 4.7.0 too many messages", close="after", times=1)]
    ) as sink:
        connection = make_connection(sink)
        connection.transact("first@example.org", TEN[:1], wire_message(MAIL))
        assert connection.transact("second@example.org", TEN[:1], wire_message(MAIL))[0][0] == 250
        assert sink.connections == 2
        connection.drop()


def test_parameters_are_said_where_offered_and_needed() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        connection.transact("x@example.org", TEN[:1], wire_message("Subject: ü\r\n\r\nü\r\n".encode()))
        connection.transact("x@example.org", ("grüße@example.net",), wire_message(MAIL))
        assert sink.transactions[0].parameters == "SIZE=19 BODY=8BITMIME"
        assert sink.transactions[1].parameters == f"SIZE={len(MAIL)} SMTPUTF8"
        connection.drop()


def test_without_smtputf8_only_addresses_beyond_ascii_are_refused() -> None:
    with Sink(extensions=("PIPELINING",)) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", ("grüße@example.net", TEN[0]), wire_message(MAIL))
        assert [reply[0] for reply in replies] == [553, 250]
        assert sink.recipients() == [TEN[0]]
        connection.drop()


@pytest.mark.parametrize("address", ["a@b\r\nRCPT TO:<evil@example.net>", "a\x00@example.net", "", "a>@b"])
def test_an_address_cannot_become_a_command(address: str) -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", (address, TEN[0]), wire_message(MAIL))
        assert [reply[0] for reply in replies] == [553, 250]
        assert sink.recipients() == [TEN[0]]
        connection.drop()


def test_552_to_rcpt_without_an_enhanced_code_is_too_many_recipients() -> None:
    rules = [
        Rule(at="rcpt", like="m1", reply="552 too many"),
        Rule(at="rcpt", like="m2", reply="552 5.2.2 full"),
    ]
    with Sink(rules) as sink:
        connection = make_connection(sink)
        replies = connection.transact("x@example.org", TEN[:3], wire_message(MAIL))
        assert [reply[0] for reply in replies] == [250, 452, 552]
        connection.drop()


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"a"])).map(b"".join))
def test_no_bare_line_end_leaves_and_the_message_comes_back(content: bytes) -> None:
    """What a server un-dots is the message with even line ends, and nothing in it ends DATA early."""
    wire = wire_message(content).data
    assert wire.endswith(b"\r\n.\r\n") or wire == b".\r\n"
    assert even_line_ends(wire) == wire
    assert (b"\r\n" + wire).find(b"\r\n.\r\n") == len(wire) - 3
    received = (b"\r\n" + wire[:-3]).replace(b"\r\n.", b"\r\n")[2:]
    even = even_line_ends(content)
    assert received == (even if even.endswith(b"\r\n") else even + b"\r\n")


# One transaction for each recipient -----------------------------------------------------------------------------------


def mails(*recipients: str) -> list[tuple[str, str]]:
    return [(f"ant-bounces+{number}@example.org", name) for number, name in enumerate(recipients)]


def test_each_recipient_has_a_transaction_and_the_next_envelope_goes_ahead() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        batch = connection.transact_each(mails(*TEN), wire_message(MAIL))
        assert ([code for code, _ in batch.replies], batch.broken) == ([250] * 10, None)
        assert [(done.reverse_path, done.accepted) for done in sink.transactions] == [
            (path, (name,)) for path, name in mails(*TEN)
        ]
        assert {done.content for done in sink.transactions} == {MAIL}
        assert sink.connections == 1
        assert not [command for command in sink.commands if command == "RSET"]
        connection.quit()


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("8BITMIME",)])
def test_refusals_of_any_step_are_that_recipients_alone(extensions: tuple[str, ...]) -> None:
    rules = [
        Rule(at="rcpt", like="m1@", reply="550 5.1.1 no such user"),
        Rule(at="rcpt", like="m3@", reply="450 4.2.1 later"),
        Rule(at="mail", like=r"\+4@", reply="451 4.3.0 not that one"),
        Rule(at="dot", like="m6@", reply="554 5.7.1 spam"),
        Rule(at="data", like=r"\+7@", reply="451 4.3.5 no"),
    ]
    with Sink(rules, extensions=extensions) as sink:
        connection = make_connection(sink)
        batch = connection.transact_each(mails(*TEN, "bad\x00@example.net"), wire_message(MAIL))
        assert batch.broken is None
        assert [code for code, _ in batch.replies] == [
            *(250, 550, 250, 450, 451, 250, 554, 451, 250, 250, 553)
        ]
        taken = [name for done in sink.transactions if done.is_delivered for name in done.accepted]
        assert taken == [TEN[number] for number in (0, 2, 5, 8, 9)]
        connection.quit()


def test_an_mta_that_takes_so_many_mails_a_connection_gets_the_others_on_the_next() -> None:
    rules = [
        Rule(at="mail", like=rf"\+{number}@", reply="421 4.7.0 enough", close="after", times=1)
        for number in (3, 7)
    ]
    with Sink(rules) as sink:
        connection = make_connection(sink)
        batch = connection.transact_each(mails(*TEN), wire_message(MAIL))
        assert [code for code, _ in batch.replies] == [250] * 10
        assert sink.connections == 3
        assert sorted(sink.recipients()) == sorted(TEN)
        connection.quit()


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("8BITMIME",)])
def test_a_connection_that_takes_no_more_without_saying_421_is_left(extensions: tuple[str, ...]) -> None:
    """As OpenSMTPD does behind 100 messages: 452 to every MAIL, for as long as the connection stays."""
    rules = [Rule(at="mail", like=rf"\+{number}@", reply="452 4.5.3 enough", times=1) for number in (3, 7)]
    with Sink(rules, extensions=extensions) as sink:
        connection = make_connection(sink)
        batch = connection.transact_each(mails(*TEN[:7]), wire_message(MAIL))
        assert ([code for code, _ in batch.replies], batch.broken) == ([250] * 7, None)
        assert sink.connections == 2
        replies = connection.transact("ant-bounces+7@example.org", TEN[7:], wire_message(MAIL))
        assert [code for code, _ in replies] == [250] * 3
        assert sink.connections == 3
        assert sink.recipients() == list(TEN)
        connection.quit()


def test_a_refusal_that_a_new_connection_hears_too_is_about_the_mail() -> None:
    """No third connection is made for it."""
    with Sink([Rule(at="mail", like=r"\+[3-9]@", reply="452 4.3.1 full")]) as sink:
        connection = make_connection(sink)
        batch = connection.transact_each(mails(*TEN), wire_message(MAIL))
        assert ([code for code, _ in batch.replies], batch.broken) == ([250] * 3 + [452] * 7, None)
        assert sink.connections == 2
        connection.quit()


def test_an_mta_that_goes_away_in_the_middle_has_what_it_said() -> None:
    rules = [Rule(at="mail", like=r"\+[3-9]@", reply="421 4.3.2 down", close="after")]
    with Sink(rules) as sink:
        batch = make_connection(sink).transact_each(mails(*TEN), wire_message(MAIL))
        assert [code for code, _ in batch.replies] == [250] * 3
        assert isinstance(batch.broken, Away)
        assert sink.recipients() == list(TEN[:3])


def test_a_reply_that_is_lost_leaves_one_in_doubt_and_sends_no_other() -> None:
    with Sink([Rule(at="dot", like="m4@", close="before")]) as sink:
        batch = make_connection(sink).transact_each(mails(*TEN), wire_message(MAIL))
        assert [code for code, _ in batch.replies] == [250] * 4
        assert isinstance(batch.broken, ReplyLost)
        assert sink.recipients() == list(TEN[:5])


def test_an_idle_connection_that_was_closed_is_opened_again_for_each() -> None:
    with Sink() as sink:
        connection = make_connection(sink)
        connection.transact_each(mails(*TEN[:2]), wire_message(MAIL))
        sink.close_connections()
        batch = connection.transact_each(mails(*TEN[2:]), wire_message(MAIL))
        assert ([code for code, _ in batch.replies], batch.broken) == ([250] * 8, None)
        assert sink.recipients() == list(TEN)
        connection.quit()
