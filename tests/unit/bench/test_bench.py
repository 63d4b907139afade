"""What `make bench` says is what it measured: the load is honest, the sink counts, the figures are summed up as told."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.load import Load, LoadFailed, Mail, Tally, call_out, deliver, is_whole, make_messages
from bench.measure import Spread, cpu_s, percentile, pss_mib, ratios
from bench.report import Results, judge, render
from bench.rows import ROWS, Cell
from bench.sink import Connection, make_counter
from bench.whole import Posts, Round

GOOD = {b"LHLO": b"250-x\r\n250 HELP\r\n", b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}


@pytest.mark.parametrize(
    ("reply", "whole"),
    [
        (b"250 ok\r\n", True),
        (b"250-first\r\n250 last\r\n", True),
        (b"250-first\r\n", False),
        (b"250 o", False),
        (b"", False),
    ],
)
def test_a_reply_is_whole_with_its_last_line(reply: bytes, whole: bool) -> None:
    assert is_whole(reply) is whole


def test_no_two_messages_are_alike_and_each_has_the_size_asked_for() -> None:
    mail = Mail(4096, ["ant@example.org"], run="1")
    other = Mail(4096, ["ant@example.org"], run="2")
    messages = [*make_messages(mail, 50), *make_messages(other, 50)]
    assert len({message.partition(b"Message-ID: ")[2].partition(b"\r\n")[0] for message in messages}) == 100
    assert len({message.partition(b"\r\n\r\n")[2] for message in messages}) == 100
    assert all(abs(len(message) - 4096) < 150 for message in messages)
    assert all(message.find(b"\r\n.") == len(message) - 5 for message in messages)


@contextmanager
def server(replies: dict[bytes, bytes], heard: list[bytes] | None = None) -> Iterator[tuple[str, int]]:
    """Answer one connection, a read at a time, as `replies` say, else 250; `heard` gets what came."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(5)

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            connection.sendall(b"220 x\r\n")
            while octets := connection.recv(65536):
                if heard is not None:
                    heard.append(octets)
                connection.sendall(replies.get(octets[:4], b"250 ok\r\n"))

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()
    finally:
        thread.join()
        listener.close()


def test_every_message_is_counted_once() -> None:
    mail, tally = Mail(300, ["ant@example.org"]), Tally()
    scripts = iter([deliver(mail, make_messages(mail, 20), tally)])
    with server(GOOD) as address, Load(address, 1, tally, lambda: next(scripts, None)) as load:
        load.turn(5)
    assert len(tally.latencies) == 20


@pytest.mark.parametrize("offer", [b"250 PIPELINING\r\n", b"250 HELP\r\n"])
def test_an_mta_pipelines_where_that_is_offered(offer: bytes) -> None:
    """What arrives in one read is one write: the server answers three commands at once, or each."""
    mail, tally = Mail(300, ["ant@example.org"]), Tally()
    heard: list[bytes] = []
    scripts = iter([deliver(mail, make_messages(mail, 3), tally, pipelines=True)])
    is_offered = b"PIPELINING" in offer
    replies = {**GOOD, b"LHLO": b"250-x\r\n" + offer}
    if is_offered:
        replies[b"MAIL"] = b"250 2.1.0 ok\r\n250-2.1.5 first\r\n250 2.1.5 ok\r\n354 go on\r\n"
    with server(replies, heard) as address, Load(address, 1, tally, lambda: next(scripts, None)) as load:
        load.turn(5)
    assert len(tally.latencies) == 3
    assert [octets[:4] for octets in heard].count(b"MAIL") == 3
    assert [octets[:4] for octets in heard].count(b"RCPT") == (0 if is_offered else 3)
    assert [octets.count(b"\r\n") for octets in heard if octets.startswith(b"MAIL")] == [
        3 if is_offered else 1
    ] * 3


@pytest.mark.parametrize("last", [b"503 5.5.1 no\r\n", b"354 go on\r\n250 one too many\r\n"])
def test_replies_to_a_pipeline_are_checked_each(last: bytes) -> None:
    mail, tally = Mail(300, ["ant@example.org"]), Tally()
    scripts = iter([deliver(mail, make_messages(mail), tally, pipelines=True)])
    replies = {b"LHLO": b"250 PIPELINING\r\n", b"MAIL": b"250 ok\r\n250 ok\r\n" + last}
    with (
        server(replies) as address,
        pytest.raises(LoadFailed, match="expected 250, 250, 354"),
        Load(address, 1, tally, lambda: next(scripts, None)) as load,
    ):
        load.turn(5)


def test_callouts_go_on_until_the_load_is_closed() -> None:
    tally = Tally()
    scripts = iter([call_out(Mail(0, ["ant@example.org"]), tally)])
    with server(GOOD) as address, Load(address, 1, tally, lambda: next(scripts, None)) as load:
        load.turn(0.05)
        before = len(tally.latencies)
    assert 0 < before <= len(tally.latencies) <= before + 1


@pytest.mark.parametrize(("command", "reply"), [(b"MAIL", b"452 4.3.1 full\r\n"), (b"DATA", b"250 ok\r\n")])
def test_a_reply_that_was_not_expected_ends_the_run(command: bytes, reply: bytes) -> None:
    mail, tally = Mail(300, ["ant@example.org"]), Tally()
    scripts = iter([deliver(mail, make_messages(mail), tally)])
    with (
        server({**GOOD, command: reply}) as address,
        pytest.raises(LoadFailed, match="expected"),
        Load(address, 1, tally, lambda: next(scripts, None)) as load,
    ):
        load.turn(5)


def test_the_sink_counts_recipients_of_pipelined_transactions(tmp_path: Path) -> None:
    """However the octets are cut."""
    counter = make_counter(tmp_path / "counts")
    one, other = socket.socketpair()
    with one, other:
        connection = Connection(one)
        commands = b"MAIL FROM:<a@x>\r\n" + b"RCPT TO:<b@x>\r\n" * 3 + b"DATA\r\n"
        octets = (
            b"EHLO x\r\n" + (commands + b"From: a\r\n\r\n..\r\n.x\r\n.\r\n") * 2 + commands + b".\r\nQUIT\r\n"
        )
        replies = b"".join(connection.answer(octets[at : at + 7], counter) for at in range(0, len(octets), 7))
    counts = counter.read()
    assert (counts.messages, counts.recipients) == (3, 9)
    assert replies.count(b"354") == 3
    assert replies.endswith(b"221 2.0.0 Bye\r\n")


def test_rounds_are_compared_with_each_other() -> None:
    """A round in which everything was slow says the same as the others."""
    assert ratios([200, 20, 220], [100, 10, 100]) == Spread(2.0, 2.0, 2.2)
    assert percentile([5, 1, 3], 0.5) == 3
    assert percentile([], 0.99) == 0


def test_what_was_not_measured_is_not_reached() -> None:
    goals = judge(Results())
    assert not any(goal.is_reached for goal in goals)
    assert render(Results(), ROWS, "nothing").count("not measured") == len(goals)


def test_goals_are_held_against_the_medians() -> None:
    rounds = [
        Round(ten=Posts(rate, 10 * rate), idle_s=idle) for rate, idle in ((160, 0.1), (100, 0.3), (170, 0.4))
    ]
    results = Results(rounds={"P": rounds})
    for target, rate in (("A", 100.0), ("P", 200.0)):
        results.table["accept-10", target] = [Cell(rate, 1.0, 1.0, 1.0)]
    said = {goal.text: goal.is_reached for goal in judge(results)}
    assert said["posts/s to a list of 10"]
    assert said["accept 4 KiB, 10 sessions: rate of P / A"]
    assert not said["idle post, final dot to last copy, s"]
    assert not said["accept 4 KiB, 10 sessions: rate of P / M"]


def test_figures_of_processes_come_from_the_kernel() -> None:
    assert cpu_s([os.getpid()]) > 0
    assert 5 < pss_mib([os.getpid()]) < 2000
