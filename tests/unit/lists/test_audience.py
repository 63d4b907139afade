"""Who gets the posts of a list: delivery, own posts, receipts, and every address of a person; against a real store."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from config.names import ListId
from lists.changes import SetDelivery, SetPreference
from lists.directory import Directory
from lists.mailbox import address_key
from lists.store import Store
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
ANNE, BART, CORA = "Anne@example.net", "bart@example.net", "cora@example.net"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path)) as opened:
        opened.create_list("ant@example.org", owners=["olga@example.com"])
        opened.add_members(ANT, [ANNE, BART, CORA])
        yield opened


@pytest.fixture
def directory(store: Store, tmp_path: Path) -> Iterator[Directory]:
    made = Directory(make_settings(tmp_path))
    made.load()
    yield made
    made.close()


def set_preference(
    store: Store, address: str, *, own: bool | None = None, receipts: bool | None = None
) -> None:
    store.perform(
        [SetPreference(list_id=ANT, address=address, receive_own_postings=own, acknowledge_posts=receipts)]
    )


def test_memberships_stand_beside_their_addresses(store: Store, directory: Directory) -> None:
    audience = directory.audience(ANT)
    assert audience.addresses == (ANNE, BART, CORA)
    by_id = {member.id: member.address for member in store.members(ANT, "member")}
    assert tuple(by_id[number] for number in audience.memberships) == audience.addresses


def test_who_wants_no_own_posts_is_spared_their_own_alone(store: Store, directory: Directory) -> None:
    set_preference(store, BART, own=False)
    directory.refresh()
    audience = directory.audience(ANT)
    spared = audience.without_author((address_key(BART),))
    assert spared.addresses == (ANNE, CORA)
    assert [audience.memberships[place] for place in (0, 2)] == list(spared.memberships)
    assert audience.without_author((address_key(ANNE), "stranger@example.com")) is audience


def test_any_address_of_a_person_is_their_own(store: Store, directory: Directory) -> None:
    set_preference(store, BART, own=False, receipts=True)
    store.link_addresses(BART, "bart@work.example")
    directory.refresh()
    audience = directory.audience(ANT)
    assert BART not in audience.without_author(("bart@work.example",)).addresses
    assert audience.receipt_to(("bart@work.example",)) == BART


def test_a_member_on_vacation_gets_no_post_but_the_receipt_of_their_own(
    store: Store, directory: Directory
) -> None:
    store.perform([SetDelivery(ANT, BART, "vacation")])
    set_preference(store, BART, receipts=True)
    directory.refresh()
    audience = directory.audience(ANT)
    assert audience.addresses == (ANNE, CORA)
    assert audience.receipt_to((address_key(BART),)) == BART
    assert audience.receipt_to((address_key(ANNE),)) == ""


def test_a_list_that_is_not_there_has_no_audience(directory: Directory) -> None:
    assert directory.audience(ListId("bee.example.org")).addresses == ()
