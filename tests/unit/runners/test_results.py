"""What follows from the MTA's replies: done, a rest that is due later, reports of failures."""

import email
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import MAX_OUTPUTS, Item
from config.names import BOUNCES, OUTGOING, ItemId, ListId
from runners.outcome import Ack
from runners.reports import Failure, write_report
from runners.results import is_our_report, next_attempt, outcome_of, wait_for_mta
from runners.smtp import Reply

ACCEPTED = datetime(2026, 11, 23, tzinfo=UTC)
FIVE_DAYS = timedelta(days=5)


def make_item(reverse_path: str = "ant-bounces@example.org") -> Item:
    return Item(
        id=ItemId("ab" * 16),
        root_id=ItemId("cd" * 16),
        queue=OUTGOING,
        list_id=ListId("ant.example.org"),
        reverse_path=reverse_path,
        accepted_at=ACCEPTED,
    )


def judge(replies: list[Reply], now: datetime = ACCEPTED, item: Item | None = None) -> Ack:
    recipients = [f"m{number}@example.net" for number in range(len(replies))]
    return outcome_of(
        item or make_item(),
        recipients,
        replies,
        path_of=lambda _: (item or make_item()).reverse_path,
        now=now,
        deliver_for=FIVE_DAYS,
        write=lambda failures: " ".join(failure.recipient for failure in failures).encode(),
    )


def test_all_taken_is_done() -> None:
    assert judge([(250, "ok")] * 3) == Ack(outputs=(), reason="sent 3, later 0, failed 0")


def test_recipients_answered_4xx_leave_as_one_rest() -> None:
    (rest,) = judge([(250, "ok"), (450, "later"), (451, "later")]).outputs
    assert (rest.queue, rest.recipients) == (OUTGOING, ("m1@example.net", "m2@example.net"))
    assert rest.reverse_path == "ant-bounces@example.org"
    assert rest.due_at == ACCEPTED + timedelta(seconds=10)


def test_each_recipient_answered_5xx_is_a_report_in_bounces() -> None:
    outputs = judge([(550, "5.1.1 no"), (250, "ok"), (552, "5.2.2 full")]).outputs
    assert [(output.queue, output.content, output.recipient, output.reverse_path) for output in outputs] == [
        (BOUNCES, b"m0@example.net", "ant-bounces@example.org", ""),
        (BOUNCES, b"m2@example.net", "ant-bounces@example.org", ""),
    ]


def test_after_five_days_4xx_is_a_failure() -> None:
    (report,) = judge([(450, "later")], now=ACCEPTED + FIVE_DAYS).outputs
    assert report.queue == BOUNCES


def test_a_mail_with_the_null_reverse_path_is_never_reported() -> None:
    assert judge([(550, "no")], item=make_item(reverse_path="")).outputs == ()


@given(st.lists(st.sampled_from([250, 450, 550]), min_size=1, max_size=500))
def test_however_many_fail_one_ack_holds_it_and_nobody_is_forgotten(codes: list[int]) -> None:
    outputs = judge([(code, "x") for code in codes]).outputs
    assert len(outputs) <= MAX_OUTPUTS
    named = [
        name for output in outputs for name in (output.recipients or (output.content or b"").decode().split())
    ]
    assert len(named) == len(set(named)) == sum(code != 250 for code in codes)


@pytest.mark.parametrize(("age", "wait"), [(0, 10), (10, 10), (60, 30), (3600, 1800), (86400, 3600)])
def test_the_next_attempt_is_after_half_the_age(age: int, wait: int) -> None:
    now = ACCEPTED + timedelta(seconds=age)
    assert next_attempt(ACCEPTED, now) == now + timedelta(seconds=wait)


@pytest.mark.parametrize(("age", "wait"), [(0, 10), (60, 30), (86400, 120)])
def test_mail_waits_two_minutes_at_most_for_an_mta_that_is_back(age: int, wait: int) -> None:
    assert wait_for_mta(ACCEPTED, ACCEPTED + timedelta(seconds=age)) == wait


def report_about(*failures: Failure) -> bytes:
    return write_report(
        make_item(),
        b"From: anne@example.net\r\nSubject: Hello\r\n\r\nsecret body\r\n",
        failures,
        site="lists.example.org",
        mta="127.0.0.1:25",
        now=ACCEPTED,
    )


def test_a_report_reads_as_rfc_3464() -> None:
    report = email.message_from_bytes(report_about(Failure("anne@example.net", 550, "5.1.1 no such user")))
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["auto-submitted"] == "auto-replied"
    _, text, _, about_mail, about_anne, header = report.walk()
    assert "anne@example.net" in str(text)
    assert about_mail["reporting-mta"] == "dns; lists.example.org"
    assert about_anne["final-recipient"] == "rfc822; anne@example.net"
    assert about_anne["status"] == "5.1.1"
    assert about_anne["action"] == "failed"
    assert about_anne["diagnostic-code"] == "smtp; 550 5.1.1 no such user"
    assert b"secret body" not in report_about(Failure("anne@example.net", 550, "no"))
    assert "Subject: Hello" in str(header)


def test_two_reports_of_one_item_have_two_message_ids() -> None:
    ids = {
        email.message_from_bytes(report_about(Failure(name, 550, "no")))["message-id"]
        for name in ("a@b", "c@d")
    }
    assert len(ids) == 2


def test_the_status_of_a_failure_is_the_mtas_or_its_class() -> None:
    assert Failure("a@b", 550, "5.1.1 no").status == "5.1.1"
    assert Failure("a@b", 550, "no such user").status == "5.0.0"
    assert Failure("a@b", 450, "4.2.0 later", expired=True).status == "4.4.7"


@given(st.text(max_size=80), st.text(min_size=1, max_size=80))
def test_no_reply_and_no_address_adds_a_line_to_a_report(text: str, recipient: str) -> None:
    plain = report_about(Failure("anne@example.net", 550, "x"))
    odd = report_about(Failure(recipient, 550, text))
    assert odd.count(b"\n") == plain.count(b"\n")
    assert odd.count(b"\r") == plain.count(b"\r")


def test_with_verp_rests_keep_their_memberships_and_each_report_its_path() -> None:
    item = msgspec.structs.replace(make_item(), memberships=(11, 12, 13))
    ack = outcome_of(
        item,
        ("m0@example.net", "m1@example.net", "m2@example.net"),
        [(450, "later"), (550, "5.1.1 no"), (250, "ok")],
        path_of=lambda place: f"ant-bounces+{item.memberships[place]}@example.org",
        now=ACCEPTED,
        deliver_for=FIVE_DAYS,
        write=lambda failures: b"report",
    )
    rest, report = ack.outputs
    assert (rest.recipients, rest.memberships) == (("m0@example.net",), (11,))
    assert rest.reverse_path == "ant-bounces@example.org"
    assert report.recipient == "ant-bounces+12@example.org"
    assert report.args is not None
    assert is_our_report(report.args)
    assert not is_our_report({"client": "outgoing"})
