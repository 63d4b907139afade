"""The rows of whole list servers: the letters are what they should be, the sink lets people answer, processes end, rounds are compared."""

import os
import socket
import sqlite3
import sys
from contextlib import closing
from email import message_from_bytes
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.letters import write_answer, write_bounce, write_join
from bench.load import Letter, LoadFailed, hand_in_all
from bench.measure import forget_peak, peak_rss, rss
from bench.report import Results, judge, render
from bench.rows import ROWS, Cell
from bench.sink import ANSWERING, Connection, Question, make_counter, make_questions
from bench.suite import MEMBERS, member_address, read_number
from bench.targets import Process, session_pids
from bench.whole import Done, Posts, Round
from lists.bounces.reading import read_report
from tests.support.waiting import wait_until

MEMBER = member_address(7)
VERP = "thousand-bounces+token@example.org"


def test_a_bounce_is_one_that_postroom_reads() -> None:
    """A report that nobody understands would be dropped fast, and the row would praise that."""
    letter = write_bounce(VERP, MEMBER, "thousand@example.org", "1")
    report = read_report(letter.content[: -len(b".\r\n")])
    assert (report.kind, report.method) == ("failure", "rfc3464")
    assert [(one.addresses, one.status, one.is_permanent) for one in report.failures] == [
        ((MEMBER,), "5.1.1", True)
    ]
    assert (letter.sender, letter.recipient) == ("", VERP)


def test_an_answer_goes_to_whom_the_question_is_from() -> None:
    question = Question(f"p1@{ANSWERING}", "joined-confirm+abc@example.org", "confirm abc")
    letter = write_answer(question, "1")
    message = message_from_bytes(letter.content)
    assert (letter.sender, letter.recipient) == (question.to, question.sender)
    assert (message["from"], message["to"], message["subject"]) == (
        question.to,
        question.sender,
        "Re: confirm abc",
    )


def test_letters_are_ready_for_the_wire() -> None:
    letters = [
        write_bounce(VERP, MEMBER, "thousand@example.org", "1"),
        write_join(f"p1@{ANSWERING}", "joined@example.org", "1"),
    ]
    for letter in letters:
        assert letter.content.count(b"\n") == letter.content.count(b"\r\n")
        assert letter.content.find(b"\r\n.") == len(letter.content) - 5
    assert letters[1].recipient == "joined-join@example.org"


def test_the_members_that_bounce_are_each_at_a_domain_of_their_own() -> None:
    """Else Postroom takes them for one incident and stops scoring."""
    domains = {member_address(number).partition("@")[2] for number in range(max(MEMBERS.values()))}
    assert len(domains) == max(MEMBERS.values())


def test_the_sink_keeps_the_questions_of_those_who_answer(tmp_path: Path) -> None:
    """Of everybody else's mail nothing; and a question is told once."""
    counter, questions = make_counter(tmp_path / "counts"), make_questions(tmp_path / "questions")
    one, other = socket.socketpair()
    with one, other:
        connection = Connection(one, questions)
        head = b"From: Ant <ant-confirm+x@example.org>\r\nSubject: Please\r\n confirm\r\n\r\n"
        for to in (f"zoe@{ANSWERING}", "bart@example.net"):
            envelope = f"MAIL FROM:<>\r\nRCPT TO:<{to}>\r\nDATA\r\n".encode()
            connection.answer(envelope + head + b"From: not me\r\n.\r\n", counter)
    assert questions.new() == [
        Question(f"zoe@{ANSWERING}", "ant-confirm+x@example.org", "Please confirm"),
    ]
    assert questions.new() == []
    assert counter.read().recipients == 2


def test_a_question_that_is_half_written_waits(tmp_path: Path) -> None:
    file = tmp_path / "questions"
    questions = make_questions(file)
    questions.add("zoe@example.net", b"From: a@example.org\r\nSubject: one")
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:10])
    assert len(questions.new()) == 1
    file.write_bytes(whole + whole)
    assert len(questions.new()) == 1


@pytest.mark.slow
def test_nothing_that_a_target_started_outlives_it(tmp_path: Path) -> None:
    """A child that ignores SIGTERM, of a target that has ended already."""
    child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])"
    log = tmp_path / "log"
    process = Process((sys.executable, "-c", parent), tmp_path, log)
    wait_until(lambda: log.read_text() == "up\n" and process.popen.poll() is not None, 10)
    assert len(session_pids(process.popen.pid)) == 1
    process.stop()
    assert session_pids(process.popen.pid) == []
    process.stop()  # a second time does no harm


def test_a_letter_that_is_not_answered_in_time_ends_the_row() -> None:
    letter = Letter("anne@example.net", "ant@example.org", b"x\r\n.\r\n")
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(LoadFailed, match="0 of 1 letters"),
    ):
        hand_in_all(silent.getsockname(), [letter], 10, 0.05)


def test_a_number_is_read_from_a_store_in_use(tmp_path: Path) -> None:
    file = tmp_path / "lists.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (score REAL)")
        connection.execute("INSERT INTO t VALUES (0), (1), (2)")
        connection.commit()
        assert read_number(file, "SELECT count(*) FROM t WHERE score > 0") == 2


def test_the_peak_of_memory_is_seen_after_it_was_given_back() -> None:
    pids = [os.getpid()]
    before = rss(pids)
    forget_peak(pids)
    big = b"x" * (64 * 2**20)
    del big
    assert peak_rss(pids) - before > 60 * 2**20


def make_round(rate: float) -> Round:
    return Round(
        start_s=1 / rate,
        memory_mib=100 / rate,
        idle_s=1 / rate,
        ten=Posts(rate, 10 * rate),
        thousand=Posts(rate, 1000 * rate),
        bounces=Done(rate, 1.0),
        joins=Done(rate, 1.0),
    )


def test_suites_are_compared_round_by_round() -> None:
    """What one of them has not done in a round compares with nothing."""
    results = Results(
        rounds={
            "M": [make_round(1), make_round(2), Round()],
            "P": [make_round(20), make_round(40), make_round(1)],
        }
    )
    found = {goal.text: goal for goal in judge(results)}
    bounces = found["bounces scored/s: P / M"]
    assert bounces.found is not None
    assert (bounces.found.least, bounces.found.most, bounces.is_reached) == (20, 20, True)
    assert found["idle PSS of all processes, MiB: P / M"].is_reached
    assert not replace(bounces, limit=21.0).is_reached


def test_a_stricter_limit_names_the_one_before() -> None:
    results = Results()
    for target, rate in (("A", 100.0), ("P", 190.0)):
        results.table["accept-10", target] = [Cell(rate, 1.0, 1.0, 1.0)]
    (goal,) = [one for one in judge(results) if one.text == "accept 4 KiB, 10 sessions: rate of P / A"]
    assert not goal.is_reached
    assert ">= 2 (before: 1.8)" in render(results, ROWS, "nothing")
