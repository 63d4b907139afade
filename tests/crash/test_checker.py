"""The checker of the crash tests fails when it should."""

from hypothesis import given
from hypothesis import strategies as st

from tests.crash.checker import Copy, Sent, find_faults

MEMBERS = ("anne@example.net", "bea@example.net")
ONE_TAKEN = Sent(taken={"<1@x>": MEMBERS}, unanswered={})
ALL = [Copy("<1@x>", member) for member in MEMBERS]


def test_each_copy_once_is_no_fault() -> None:
    """A good run."""
    assert find_faults(ONE_TAKEN, ALL, ()) == []


def test_a_copy_that_is_missing_is_a_fault() -> None:
    """Lost mail."""
    assert find_faults(ONE_TAKEN, ALL[:1], ()) == ["lost: <1@x> answered 250, not at bea@example.net"]


def test_a_copy_that_came_twice_is_a_fault_unless_it_is_named() -> None:
    """Doubled mail, excused only by name."""
    assert find_faults(ONE_TAKEN, [*ALL, ALL[0]], ()) == ["doubled: <1@x> came 2 times to anne@example.net"]
    assert find_faults(ONE_TAKEN, [*ALL, ALL[0]], [ALL[1]])
    assert find_faults(ONE_TAKEN, [*ALL, ALL[0]], [ALL[0]]) == []


def test_a_copy_named_once_may_not_come_three_times() -> None:
    """Each time that a transaction is made again is named by itself."""
    assert find_faults(ONE_TAKEN, [*ALL, ALL[0], ALL[0]], [ALL[0]])
    assert find_faults(ONE_TAKEN, [*ALL, ALL[0], ALL[0]], [ALL[0], ALL[0]]) == []


def test_a_named_copy_is_still_missed() -> None:
    """What may come twice must come once."""
    assert find_faults(ONE_TAKEN, ALL[:1], ALL)


def test_a_mail_without_an_answer_may_be_whole_or_absent_but_not_torn() -> None:
    """Nobody promised it, but half of it is no state that it may be in."""
    sent = Sent(taken={}, unanswered={"<1@x>": MEMBERS})
    assert find_faults(sent, [], ()) == []
    assert find_faults(sent, ALL, ()) == []
    assert find_faults(sent, ALL[:1], ()) == ["torn: <1@x> is at some of its members only"]


def test_a_copy_that_nobody_sent_is_a_fault() -> None:
    """A stranger's mail, or a stranger as recipient."""
    assert find_faults(ONE_TAKEN, [*ALL, Copy("<2@x>", MEMBERS[0])], ())
    assert find_faults(ONE_TAKEN, [*ALL, Copy("<1@x>", "carl@example.net")], ())


@given(st.sets(st.integers(0, 50), min_size=1), st.data())
def test_taking_away_or_adding_any_one_copy_is_always_noticed(numbers: set[int], data: st.DataObject) -> None:
    """There is no place in a run where one loss or one double would hide."""
    sent = Sent(taken={f"<{number}@x>": MEMBERS for number in numbers}, unanswered={})
    copies = [Copy(f"<{number}@x>", member) for number in sorted(numbers) for member in MEMBERS]
    assert find_faults(sent, copies, ()) == []
    chosen = data.draw(st.sampled_from(copies))
    assert find_faults(sent, [copy for copy in copies if copy != chosen], ())
    assert find_faults(sent, [*copies, chosen], ())
