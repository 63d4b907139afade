"""Letters of one decision: before the gate one by one, paid together, against a real store."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bus.messages import Item
from config.names import MEMBERSHIP, ItemId
from lists import changes
from lists.address import DEFAULT_SUFFIXES
from lists.gate import Cause, Denial, Kind, Permit
from lists.model import MailingList
from lists.roster import Roster
from lists.store import Store
from lists.tokens import SiteKey
from runners.letters import Letter, Office, Written, write_letters
from runners.texts import Texts
from tests.support.lists import make_settings

ANT = MailingList.at("ant@example.org")
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ITEM = Item(
    id=ItemId("ab" * 16),
    root_id=ItemId("ab" * 16),
    queue=MEMBERSHIP,
    reverse_path="anne@example.net",
    accepted_at=NOW,
)
PERSON = Cause("anne@example.net", "<1@example.net>")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(make_settings(tmp_path))
    made.open()
    yield made
    made.close()


def make_office(per_day: int = 3) -> Office:
    return Office(
        key=SiteKey(b"k" * 32),
        texts=Texts(None),
        site="lists.example.org",
        site_owner="",
        per_day=per_day,
        staff_per_day=5,
        is_ours=lambda address: address.endswith("@example.org"),
    )


def send(store: Store, item: str, letters: list[Letter], cause: Cause | None = PERSON) -> Written:
    written: list[Written] = []

    def decide(roster: Roster) -> changes.Decision:
        office = make_office()
        desk = office.desk(ANT, DEFAULT_SUFFIXES)
        written[:] = [write_letters(letters, roster, desk, office, ITEM, NOW, cause=cause)]
        return changes.Decision(written[0].changes, b"done")

    store.apply_once(ItemId(item), decide)
    return written[0]


def welcome(address: str = "anne@example.net") -> Letter:
    return Letter(kind=Kind.WELCOME, address=address, template="welcome")


def test_two_letters_to_one_address_are_paid_together(store: Store) -> None:
    written = send(store, "1" * 32, [welcome(), welcome("Anne@Example.NET"), welcome("bart@example.net")])
    assert len(written.outputs) == 3
    assert sorted(
        change.spent.count for change in written.changes if isinstance(change, changes.SpendBudget)
    ) == [1, 2]


def test_the_budget_holds_over_decisions(store: Store) -> None:
    """A thousand requests in a victim's name are three mails; what a member must hear has one more in reserve."""
    outputs = [
        output for number in range(50) for output in send(store, f"{number:032x}", [welcome()]).outputs
    ]
    assert len(outputs) == 4
    assert isinstance(send(store, "f" * 32, [welcome()]).verdicts[0], Denial)


def test_a_letter_that_is_denied_leaves_the_others(store: Store) -> None:
    written = send(store, "2" * 32, [welcome("ant-owner@example.org"), welcome("bart@example.net")])
    assert [type(verdict) for verdict in written.verdicts] == [Denial, Permit]
    assert [output.recipient for output in written.outputs] == ["bart@example.net"]


def staff(*addresses: str) -> Letter:
    first, *others = addresses
    return Letter(
        kind=Kind.REPORT,
        address=first,
        others=tuple(others),
        template="owner-joined",
        values={"member": "anne@example.net"},
    )


def test_a_letter_to_many_is_one_mail_for_each_language(store: Store) -> None:
    """One who is denied is left out; the budget is each reader's own."""
    ant = store.create_list("ant@example.org").list_id
    owners = [f"o{number}@example.com" for number in range(10)]
    store.add_members(ant, owners, role="owner")
    for number, language in enumerate(["de", "de", "fr", "it", "es"]):
        wanted = changes.SetPreference(list_id=ant, address=owners[number], role="owner", language=language)
        store.perform([wanted])
    written = send(store, "3" * 32, [staff(*owners, "bee@example.org")])
    readers = [output.recipients or (output.recipient,) for output in written.outputs]
    assert readers == [(owners[0], owners[1]), (owners[2],), (owners[3],), tuple(owners[4:])]
    assert len(readers) == staff(*owners).most_outputs
    assert [type(verdict) for verdict in written.verdicts] == [Permit] * 10 + [Denial]
    assert len(written.changes) == 10


def test_a_letter_to_many_leaves_out_those_whose_budget_is_spent(store: Store) -> None:
    for number in range(5):
        send(store, f"{number:032x}", [staff("olga@example.com")])
    (output,) = send(store, "f" * 32, [staff("olga@example.com", "otto@example.com")]).outputs
    assert output.recipient == "otto@example.com"
