"""The gate: who may be mailed, and that nothing goes round it."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.gate import (
    DAY_MS,
    Cause,
    Denial,
    Kind,
    Permit,
    Spent,
    budget_key,
    judge,
    read_cause,
)
from lists.tokens import SiteKey
from runners.headers import read_header

ROOT = Path(__file__).resolve().parents[3]
PERSON = Cause("anne@example.net", "<1@example.net>")
# Who may hand an item to outgoing, and what it is: everything else is mail of our own, which notices.py alone writes.
MAY_SEND = {
    "runners/incoming.py": "a member's post",
    "runners/owner.py": "mail to the owners, passed on",
    "runners/outgoing.py": "rests of what is on its way",
    "runners/results.py": "rests of what is on its way",
    "runners/notices.py": "mail of our own, for a Permit",
    "runners/placing.py": "looks at outputs, makes none",
    "runners/main.py": "names the class of each queue",
}


def cause_of(header: str, reverse_path: str = "anne@example.net") -> str:
    return read_cause(read_header(header.encode() + b"\r\n\r\nhello\r\n"), reverse_path).automatic


@pytest.mark.parametrize(
    ("header", "reverse_path", "reason"),
    [
        ("Subject: join", "", "null-reverse-path"),
        ("Subject: join", "double-bounce@mx.example.net", "null-reverse-path"),
        ("Auto-Submitted: auto-replied", "anne@example.net", "auto-submitted"),
        ("Auto-Submitted: (hm) auto-generated; x=y", "anne@example.net", "auto-submitted"),
        ("Auto-Submitted: something-new", "anne@example.net", "auto-submitted"),
        ("PRECEDENCE: Bulk", "anne@example.net", "precedence"),
        ("Precedence: junk", "anne@example.net", "precedence"),
        ("List-Id: <x.example.com>", "anne@example.net", "list-mail"),
        ("Content-Type: multipart/report;\r\n report-type=delivery-status", "anne@example.net", "report"),
        ("X-Auto-Response-Suppress: DR, AutoReply", "anne@example.net", "response-suppressed"),
        ("X-Autoreply: yes", "anne@example.net", "auto-reply"),
        ("Subject: x", "MAILER-DAEMON@example.net", "sent-by-software"),
        ("Subject: x", "bee-owner@example.net", "sent-by-software"),
        ("Subject: x", "no-reply+7@example.net", "sent-by-software"),
    ],
)
def test_automatic_mail_is_known(header: str, reverse_path: str, reason: str) -> None:
    assert cause_of(header, reverse_path) == reason


@pytest.mark.parametrize(
    "header",
    ["Subject: join", "Auto-Submitted: no", "Precedence: first-class", "X-Auto-Response-Suppress: DR", ""],
)
def test_a_persons_mail_is_none(header: str) -> None:
    assert cause_of(header) == ""


@given(st.binary(max_size=400), st.text(max_size=40))
def test_any_header_is_judged(octets: bytes, reverse_path: str) -> None:
    """Whatever stands there, the gate has an answer."""
    assert isinstance(read_cause(read_header(octets), reverse_path), Cause)


def test_an_answer_needs_somebody_who_asked() -> None:
    asked_by_software = Cause("anne@example.net", automatic="auto-submitted")
    for kind in Kind:
        verdict = judge(kind, "anne@example.net", Spent(), 0, cause=asked_by_software)
        assert isinstance(verdict, Denial) == (kind.grounds == "answer"), kind


@pytest.mark.parametrize("kind", list(Kind))
def test_nothing_goes_to_nobody_or_to_ourselves(kind: Kind) -> None:
    assert judge(kind, "", Spent(), 0, cause=PERSON) == Denial(kind, "", "nobody")
    verdict = judge(kind, "ant-owner@example.org", Spent(), 0, cause=PERSON, is_ours=True)
    assert verdict == Denial(kind, "ant-owner@example.org", "our-own-address")


@given(st.lists(st.integers(0, DAY_MS // 4), min_size=1, max_size=80), st.integers(0, 12))
def test_a_window_has_at_most_its_budget(steps: list[int], per_day: int) -> None:
    """Count mails of each window of a day by a model that remembers every mail."""
    spent, now, sent = Spent(), 0, list[int]()
    for step in steps:
        now += step
        verdict = judge(Kind.CONFIRM, "anne@example.net", spent, now, cause=PERSON, per_day=per_day)
        if isinstance(verdict, Permit):
            spent = verdict.spent
            sent.append(now)
        else:
            assert verdict.reason == "budget"
            assert sum(1 for at in sent if now - at < DAY_MS) >= per_day
    starts = [at for index, at in enumerate(sent) if index == 0 or index % max(per_day, 1) == 0]
    assert all(later - earlier >= DAY_MS for earlier, later in pairwise(starts))


def test_a_clock_that_was_set_back_opens_a_new_window() -> None:
    """Else an address would hear nothing until the clock is where it was."""
    full = Spent(since_ms=10 * DAY_MS, count=10)
    assert isinstance(judge(Kind.CONFIRM, "anne@example.net", full, 9 * DAY_MS, cause=PERSON), Permit)


def test_staff_has_a_budget_of_its_own() -> None:
    assert isinstance(judge(Kind.REPORT, "anne@example.net", Spent(0, 11), 1), Permit)
    assert isinstance(judge(Kind.ANSWER, "anne@example.net", Spent(0, 11), 1), Denial)
    key = SiteKey(b"k" * 32)
    names = {
        budget_key(key, "Anne@Example.NET", Kind.ANSWER),
        budget_key(key, "anne+ant@example.net", Kind.WARNING),
        budget_key(key, "anne@example.net", Kind.REPORT),
        budget_key(key, "anne@example.net", Kind.REQUEST),
        budget_key(SiteKey(b"other"), "anne@example.net", Kind.ANSWER),
    }
    assert len(names) == 4, (
        "answers and membership share one budget, case and +detail do not count, the key does"
    )


# There is no way round ------------------------------------------------------------------------------------------------


def test_only_the_gate_makes_permits_and_only_notices_write_mail() -> None:
    """A new module that hands something to outgoing must be in MAY_SEND with its reason, and be looked at."""
    makers = {path for path, node in _calls() if _name(node.func) == "Permit"}
    assert makers == {"lists/gate.py"}
    senders = {path for path, _ in _mentions_outgoing()}
    assert senders <= MAY_SEND.keys(), "hands mail to outgoing, beside the gate"
    assert "runners/notices.py" in senders


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("lists", "runners", "admin", "lmtp", "master", "mta"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def _calls() -> Iterator[tuple[str, ast.Call]]:
    for path, tree in _trees():
        yield from ((path, node) for node in ast.walk(tree) if isinstance(node, ast.Call))


def _mentions_outgoing() -> Iterator[tuple[str, ast.AST]]:
    """Yield every use of the queue's name in the code that makes items."""
    for path, tree in _trees():
        if not path.startswith(("runners/", "admin/", "lists/")):
            continue
        for node in ast.walk(tree):
            is_name = isinstance(node, ast.Name) and node.id == "OUTGOING"
            is_text = isinstance(node, ast.Constant) and node.value == "outgoing"
            if is_name or is_text:
                yield path, node


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
