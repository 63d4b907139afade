"""Changes of the list store: what each does, and the line of history that it leaves."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from config.names import ItemId, ListId, id_about
from lists.bounces.brake import Topic
from lists.bounces.scoring import Score, State
from lists.changes import (
    AddBounce,
    Change,
    CloseRequest,
    Decision,
    DisableMember,
    FreezeScoring,
    JoinMember,
    LeaveMember,
    LiftFreeze,
    MakeToken,
    OpenRequest,
    ResetScore,
    SetDelivery,
    SetPreference,
    SetScore,
    SpendBudget,
    UseToken,
)
from lists.errors import NoSuchList, NoSuchMember
from lists.gate import Spent
from lists.model import DeliveryStatus
from lists.records import BounceRecord, Evidence, Origin
from lists.roster import Roster
from lists.store import Store
from tests.support.lists import make_settings

ANT = ListId("ant.example.org")
ANNE = "Anne@example.net"
SOON = datetime(2033, 5, 1, tzinfo=UTC)
BY_MAIL = Origin("mail", "anne@example.net", why="asked for it")
TODAY = date(2033, 1, 7)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(make_settings(tmp_path, clock_file=tmp_path / "clock")) as made:
        made.create_list("ant@example.org")
        made.add_members("ant@example.org", [ANNE])
        yield made


def do(store: Store, *changes: Change, origin: Origin = BY_MAIL) -> ItemId:
    """Let an item of its own make these changes."""
    item_id = id_about(f"{len(story(store))}:{changes!r}")
    store.apply_once(item_id, lambda _: Decision(changes, origin=origin))
    return item_id


def story(store: Store, address: str | None = None) -> list[tuple[str, str, str, str]]:
    """What the history of the list says, oldest first: address, what, old, new."""
    found = store.records.history(ANT, address)
    return [(each.address, each.what, each.old, each.new) for each in reversed(found)]


def test_a_change_is_remembered_with_the_item_and_who_and_why(store: Store) -> None:
    item_id = do(
        store, JoinMember(ANT, "bart@example.net", display_name="Bart", delivery_mode="mime_digests")
    )
    (joined,) = store.records.history(ANT, "BART@example.net")
    assert (joined.what, joined.old, joined.new) == ("joined", "", "member")
    assert joined.origin == Origin("mail", "anne@example.net", item_id, "asked for it")
    bart = store.member(ANT, "bart@example.net")
    assert bart is not None
    assert (bart.display_name, bart.delivery_mode, bart.delivery) == ("Bart", "mime_digests", True)


def test_what_is_done_already_is_done_once_and_told_once(store: Store) -> None:
    do(store, JoinMember(ANT, "bart@example.net"))
    before = (story(store), store.version())
    do(store, JoinMember(ANT, "BART@example.net", delivery_mode="mime_digests"))
    do(store, SetPreference(list_id=ANT, address=ANNE, hide_address=False))
    do(store, SetDelivery(ANT, ANNE, "enabled"), LeaveMember(ANT, "stranger@example.net"))
    do(
        store,
        UseToken("0" * 64),
        CloseRequest(list_id=ANT, address=ANNE, kind="join", result="done"),
        LiftFreeze(9),
    )
    assert (story(store), store.version()) == before


def test_a_decision_that_fails_in_the_middle_leaves_neither_change_nor_history(store: Store) -> None:
    before = story(store)
    with pytest.raises(NoSuchMember):
        do(store, JoinMember(ANT, "bart@example.net"), SetDelivery(ANT, "stranger@example.net", "by_user"))
    with pytest.raises(NoSuchList):
        do(store, JoinMember(ANT, "bart@example.net"), JoinMember(ListId("bee.example.org"), ANNE))
    assert (store.member(ANT, "bart@example.net"), story(store)) == (None, before)


def test_who_leaves_takes_their_bounces_along_and_the_history_says_why(store: Store) -> None:
    do(
        store,
        AddBounce(
            ANT, ANNE, Evidence(day=TODAY, bounce_class="bad-mailbox", status="5.1.1", diagnostic="no")
        ),
    )
    do(store, SetScore(ANT, ANNE, BounceRecord(score=Score(1.0, TODAY, 1.0), counts={"bad-mailbox": 1})))
    do(store, LeaveMember(ANT, ANNE), origin=Origin("bounce", why="three warnings"))
    assert store.member(ANT, ANNE) is None
    last = store.records.history(ANT, ANNE)[0]
    assert (last.what, last.old, last.origin.kind, last.origin.why) == (
        "left",
        "member",
        "bounce",
        "three warnings",
    )
    do(store, JoinMember(ANT, ANNE))
    assert store.look(lambda roster: roster.bounces(ANT, ANNE)) == BounceRecord()
    (kept,) = store.records.evidence(ANT, ANNE)
    assert (kept.status, kept.diagnostic, kept.day) == ("5.1.1", "no", TODAY)


def test_delivery_says_who_stopped_it_why_and_until_when(store: Store) -> None:
    versions = store.version()
    do(store, SetDelivery(ANT, ANNE, "vacation", SOON))
    anne = store.member(ANT, ANNE)
    assert anne is not None
    assert (anne.delivery, anne.delivery_status, anne.status_until) == (False, "vacation", SOON)
    assert (anne.status_by, anne.status_why) == ("anne@example.net", "asked for it")
    assert anne.status_at is not None
    do(store, SetDelivery(ANT, ANNE, "enabled"), origin=Origin("timer"))
    until = "vacation until 2033-05-01T00:00:00+00:00"
    assert story(store, ANNE)[1:] == [
        (ANNE, "delivery_status", "enabled", until),
        (ANNE, "delivery_status", until, "enabled"),
    ]
    assert store.version() == versions  # RCPT does not look at it


def test_preferences_change_one_by_one_and_only_moderation_concerns_rcpt(store: Store) -> None:
    version = store.version()
    do(
        store,
        SetPreference(
            list_id=ANT, address=ANNE, delivery_mode="plaintext_digests", receive_own_postings=False
        ),
        SetPreference(list_id=ANT, address=ANNE, acknowledge_posts=True, hide_address=True, language="de"),
    )
    assert store.version() == version
    do(store, SetPreference(list_id=ANT, address=ANNE, moderation_action="hold"))
    assert store.version() > version
    assert story(store, ANNE)[1:] == [
        (ANNE, "delivery_mode", "regular", "plaintext_digests"),
        (ANNE, "receive_own_postings", "yes", "no"),
        (ANNE, "language", "", "de"),
        (ANNE, "acknowledge_posts", "no", "yes"),
        (ANNE, "hide_address", "no", "yes"),
        (ANNE, "moderation_action", "", "hold"),
    ]


def make_token(number: int, expires_at: datetime = SOON) -> MakeToken:
    return MakeToken(
        hash=f"{number:064x}",
        purpose="confirm",
        list_id=ANT,
        address=ANNE,
        expires_at=expires_at,
        about="leave",
    )


def test_a_token_is_used_once_and_its_use_is_told(store: Store) -> None:
    made = do(store, make_token(1), make_token(1))
    token = store.look(lambda roster: roster.token(f"{1:064x}"))
    assert token is not None
    assert (token.item_id, token.about, token.is_open(SOON - timedelta(1)), token.is_open(SOON)) == (
        made,
        "leave",
        True,
        False,
    )
    do(store, UseToken(token.hash))
    do(store, UseToken(token.hash))
    token = store.look(lambda roster: roster.token(f"{1:064x}"))
    assert token is not None
    assert not token.is_open(SOON - timedelta(1))
    assert story(store, ANNE)[1:] == [
        (ANNE, "token.confirm", "", "sent for leave"),
        (ANNE, "token.confirm", "sent for leave", "used"),
    ]
    assert store.look(lambda roster: roster.token("f" * 64)) is None


def test_tokens_are_forgotten_when_they_have_been_over_for_long(store: Store) -> None:
    do(store, *(make_token(n, SOON + timedelta(n)) for n in range(3)))
    assert store.records.trim_tokens(SOON + timedelta(2)) == 2
    assert [token.hash[-1] for _, token in store.records.tokens(ANT)] == ["2"]


def open_request(state: str, kind: str = "join") -> OpenRequest:
    return OpenRequest(
        list_id=ANT,
        address="Bart@example.net",
        kind=kind,  # type: ignore[arg-type]  # one of the two
        state=state,
        asked_by="bart@example.net",
        expires_at=SOON,
        options={"delivery_mode": "mime_digests"},
    )


def test_there_is_one_request_of_a_kind_for_an_address(store: Store) -> None:
    first = do(store, open_request("confirming"))
    do(store, open_request("moderating"), open_request("confirming", "leave"))
    join, leave = store.records.requests(ANT)
    assert (join.kind, join.state, join.item_id, join.options) == (
        "join",
        "moderating",
        first,
        {"delivery_mode": "mime_digests"},
    )
    assert leave.kind == "leave"
    assert store.look(lambda roster: roster.request(ANT, "BART@example.net", "join")) == join
    assert store.look(lambda roster: roster.request_by_id(leave.id)) == leave
    do(store, CloseRequest(list_id=ANT, address="bart@example.net", kind="join", result="refused"))
    assert store.look(lambda roster: roster.request_by_id(join.id)) is None
    assert [each[1:] for each in story(store, "bart@example.net")] == [
        ("request.join", "", "confirming"),
        ("request.join", "confirming", "moderating"),
        ("request.leave", "", "confirming"),
        ("request.join", "moderating", "refused"),
    ]


def test_a_closed_request_takes_all_its_tokens_along_and_no_others(store: Store) -> None:
    """A moderator who has refused one request has not agreed to the next one."""

    def token(number: int, about: str, address: str = "bart@example.net") -> MakeToken:
        return MakeToken(
            hash=f"{number:064x}",
            purpose="confirm",
            list_id=ANT,
            address=address,
            expires_at=SOON,
            about=about,
        )

    abouts = ["join", "approve join", "refuse join", "leave", "approve leave", "enable"]
    do(store, open_request("moderating"), *(token(number, about) for number, about in enumerate(abouts)))
    do(store, token(9, "join", ANNE))
    do(store, CloseRequest(list_id=ANT, address="Bart@example.net", kind="join", result="refused"))
    still_open = [each.about for _, each in store.records.tokens(ANT) if each.used_at is None]
    assert still_open == ["leave", "approve leave", "enable", "join"]


def test_a_command_takes_back_the_request_that_it_makes_needless(store: Store) -> None:
    """An added member has no request to join any more, a removed one none to leave; their codes are used up."""
    token = MakeToken(
        hash="1" * 64,
        purpose="confirm",
        list_id=ANT,
        address="bart@example.net",
        expires_at=SOON,
        about="join",
    )
    do(store, open_request("confirming"), token)
    store.add_members(ANT, ["cleo@example.net"])
    store.add_members(ANT, ["BART@example.net"], "moderator")
    assert [each.kind for each in store.records.requests(ANT)] == ["join"]
    store.add_members(ANT, ["BART@example.net"])
    assert store.records.requests(ANT) == ()
    assert [each.used_at is None for _, each in store.records.tokens(ANT)] == [False]
    assert ("request.join", "confirming", "withdrawn") in [
        each[1:] for each in story(store, "bart@example.net")
    ]

    tokens = [
        MakeToken(
            hash=f"{number + 2:064x}",
            purpose="probe" if about == "probe" else "confirm",
            list_id=ANT,
            address="bart@example.net",
            expires_at=SOON,
            about=about,
        )
        for number, about in enumerate(["leave", "enable", "probe", "set hide_address=yes", "approve join"])
    ]
    do(store, open_request("moderating", "leave"), *tokens)
    store.remove_members(ANT, ["bart@example.net"], "moderator")
    assert [each.kind for each in store.records.requests(ANT)] == ["leave"]
    store.remove_members(ANT, ["bart@example.net"])
    assert store.records.requests(ANT) == ()
    still_open = [each.about for _, each in store.records.tokens(ANT) if each.used_at is None]
    assert still_open == ["approve join"]


def test_bounces_are_kept_scored_and_told(store: Store) -> None:
    record = BounceRecord(State.PROBING, Score(5.25, TODAY, 0.5), {"full": 10, "policy": 1}, 0, SOON, SOON)
    do(store, SetScore(ANT, ANNE, record))
    assert store.look(lambda roster: roster.bounces(ANT, ANNE)) == record
    off = BounceRecord(State.DISABLED, Score(5.25, TODAY, 0.5), {"full": 10}, 1, None, SOON)
    do(store, DisableMember(ANT, ANNE, off), origin=Origin("bounce", why="5 bounces"))
    anne = store.member(ANT, ANNE)
    assert anne is not None
    assert (anne.delivery_status, anne.status_by, anne.status_why) == ("by_bounces", "bounce", "5 bounces")
    assert store.look(lambda roster: roster.bounces(ANT, ANNE)) == off
    do(store, ResetScore(ANT, ANNE))
    assert store.look(lambda roster: roster.bounces(ANT, ANNE)) == BounceRecord()
    assert [each[1:] for each in story(store, ANNE)][1:] == [
        ("bounce_score", "0", "5.25"),
        ("bounce_state", "counting", "probing"),
        ("delivery_status", "enabled", "by_bounces"),
        ("bounce_state", "probing", "disabled"),
        ("bounce_warnings_sent", "0", "1"),
        ("bounce_score", "5.25", "0"),
        ("bounce_state", "disabled", "counting"),
        ("bounce_warnings_sent", "1", "0"),
    ]


@pytest.mark.parametrize("status", ["enabled", "vacation", "by_user", "by_owner"])
def test_whose_delivery_people_set_starts_without_bounces(store: Store, status: DeliveryStatus) -> None:
    """No warning or removal comes to somebody who is on vacation now."""
    do(
        store,
        DisableMember(ANT, ANNE, BounceRecord(State.DISABLED, Score(5.0, TODAY), {"full": 5}, 3, None, SOON)),
    )
    do(store, SetDelivery(ANT, ANNE, status))
    assert store.look(lambda roster: roster.bounces(ANT, ANNE)) == BounceRecord()


def test_evidence_tells_how_many_of_a_domain_or_with_a_text_have_bounced(store: Store) -> None:
    texts = {
        "a@big.example": "blocked",
        "b@big.example": "blocked",
        "c@small.example": "blocked",
        "d@small.example": "",
    }
    store.add_members(ANT, texts)
    now = datetime(2000, 1, 1, tzinfo=UTC)
    for address, text in texts.items():
        evidence = Evidence(
            day=TODAY, bounce_class="policy", status="5.7.1", same_words=text, diagnostic="x" * 9000
        )
        do(store, AddBounce(ANT, address, evidence), AddBounce(ANT, address.upper(), evidence))
    big, small, blocked = (
        Topic("domain:big.example"),
        Topic("domain:small.example"),
        Topic("text:blocked", is_text=True),
    )
    assert store.look(lambda roster: roster.count_bounced(ANT, now, big)) == 2
    assert store.look(lambda roster: roster.count_bounced(ANT, now, blocked)) == 3
    assert store.look(lambda roster: roster.count_bounced(ListId("bee.example.org"), now, small)) == 0
    assert store.look(lambda roster: roster.count_bounced(ANT, SOON + timedelta(99999), small)) == 0
    assert store.look(lambda roster: roster.count_members_at(ANT, "Small.example")) == 2
    assert store.look(lambda roster: roster.count_members_at(ANT, "mall.example")) == 0
    newest, *_ = store.records.evidence(ANT, "d@small.example")
    assert (len(newest.diagnostic), len(newest.item_id)) == (500, 32)
    assert story(store, "a@big.example")[-1] == ("A@BIG.EXAMPLE", "bounced", "", "policy 5.7.1")
    assert store.records.trim_evidence(datetime(2300, 1, 1, tzinfo=UTC)) == 8
    assert store.records.evidence(ANT, "d@small.example") == ()


def test_scoring_is_frozen_longer_and_let_go(store: Store) -> None:
    freeze = FreezeScoring(list_id=ANT, topic="domain:big.example", until=SOON, told=False)
    do(store, freeze)
    do(store, FreezeScoring(list_id=ANT, topic="domain:big.example", until=SOON + timedelta(1)))
    do(store, FreezeScoring(list_id=ListId(""), topic="text:blocked", until=SOON))
    ours, everybodys = store.records.freezes(ANT)
    assert (ours.topic, ours.until) == ("domain:big.example", SOON + timedelta(1))
    assert ours.told_at is not None
    assert (everybodys.list_id, everybodys.topic) == ("", "text:blocked")
    do(store, LiftFreeze(ours.id))
    assert store.look(lambda roster: roster.freezes(ANT)) == (everybodys,)
    assert story(store, "")[-3:] == [
        ("", "freeze domain:big.example", "", "2033-05-01T00:00:00+00:00"),
        ("", "freeze domain:big.example", "2033-05-01T00:00:00+00:00", "2033-05-02T00:00:00+00:00"),
        ("", "freeze domain:big.example", "2033-05-02T00:00:00+00:00", "lifted"),
    ]


def test_a_budget_is_one_row_under_its_key(store: Store) -> None:
    before = story(store)
    assert store.look(lambda roster: roster.spent("k")) == Spent()
    do(store, SpendBudget("k", Spent(1000, 1)), SpendBudget("other", Spent(2000, 1)))
    do(store, SpendBudget("k", Spent(1000, 2)))
    assert store.look(lambda roster: roster.spent("k")) == Spent(1000, 2)
    assert store.records.trim_budgets(datetime.fromtimestamp(2, UTC)) == 1
    assert store.look(lambda roster: (roster.spent("k"), roster.spent("other"))) == (Spent(), Spent(2000, 1))
    assert story(store) == before


def test_persons_are_known_by_any_of_their_addresses(store: Store) -> None:
    store.link_addresses(ANNE, "anne@work.example")
    store.add_members(ANT, ["anne@work.example"])
    store.add_ban("^.*@work\\.example$", ANT)
    anne = store.member(ANT, ANNE)
    assert anne is not None
    assert store.look(lambda roster: roster.addresses_of_person("ANNE@work.example")) == (
        ANNE,
        "anne@work.example",
    )
    assert store.look(lambda roster: roster.addresses_of_person("x@example.net")) == ("x@example.net",)
    both = store.look(lambda roster: roster.members_of_person(ANT, ANNE))
    assert [member.address for member in both] == [ANNE, "anne@work.example"]
    assert store.look(lambda roster: roster.is_banned(ANT, ANNE))
    assert not store.look(lambda roster: roster.is_banned(ANT, "bart@example.net"))
    assert store.look(lambda roster: roster.member_by_id(anne.id)) == (ANT, anne)
    assert store.look(lambda roster: roster.member_by_id(anne.id + 99)) is None


def test_what_is_due_comes_oldest_first_in_pages(store: Store) -> None:
    many = [f"m{number}@example.net" for number in range(5)]
    store.add_members(ANT, many)
    for number, address in enumerate(many):
        at = SOON + timedelta(number)
        do(store, DisableMember(ANT, address, BounceRecord(State.DISABLED, due_at=at)))
        do(store, make_token(number, at))
    do(store, UseToken(f"{0:064x}"))
    do(store, SetDelivery(ANT, ANNE, "vacation", SOON), open_request("confirming"))
    do(store, FreezeScoring(list_id=ANT, topic="text:blocked", until=SOON))
    before = SOON + timedelta(3)
    first = store.records.due("bounce", before, limit=2)
    rest = store.records.due("bounce", before, first[-1].place, limit=2)
    assert [due.address for due in (*first, *rest)] == many[:3]
    found = store.look(lambda roster: roster.member_by_id(int(first[1].key)))
    assert found is not None
    assert (found[1].address, first[1].at, first[1].list_id) == (many[1], SOON + timedelta(1), ANT)
    assert [due.key for due in store.records.due("token", before)] == [f"{1:064x}", f"{2:064x}"]
    (delivery,) = store.records.due("delivery", before)
    (request,) = store.records.due("request", before)
    (freeze,) = store.records.due("freeze", before)
    assert (delivery.address, request.address, freeze.address) == (ANNE, "Bart@example.net", "")
    assert store.look(lambda roster: roster.request_by_id(int(request.key))) is not None
    for kind in ("bounce", "token", "delivery", "request", "freeze"):
        assert store.records.due(kind, SOON) == ()


def test_several_items_share_one_commit_and_see_each_other(store: Store) -> None:
    bart = JoinMember(ANT, "bart@example.net")
    one, two = id_about("one"), id_about("two")

    def second(roster: Roster) -> Decision:
        return Decision(outcome=b"there" if roster.member(ANT, "bart@example.net") else b"not there")

    assert store.apply_many([(one, lambda _: Decision((bart,), b"in")), (two, second)]) == (b"in", b"there")
    assert store.apply_many([(one, second), (two, lambda _: Decision())]) == (b"in", b"there")
    assert story(store, "bart@example.net") == [("bart@example.net", "joined", "", "member")]


def test_several_items_are_all_undone_when_one_of_them_raises(store: Store) -> None:
    good = (id_about("good"), lambda _: Decision((JoinMember(ANT, "bart@example.net"),), b"in"))
    bad = (id_about("bad"), lambda _: Decision((SetDelivery(ANT, "stranger@example.net", "by_user"),)))
    with pytest.raises(NoSuchMember):
        store.apply_many([good, bad])
    assert store.member(ANT, "bart@example.net") is None
    assert store.apply_many([good]) == (b"in",)


def test_commands_tell_their_story_too(store: Store) -> None:
    by_root = Origin("command", "root")
    store.set_options(ANT, ["emergency=yes", "subject_prefix=[ant]"], by_root)
    store.add_ban("troll@example.net", ANT, by_root)
    store.remove_ban("troll@example.net", ANT, by_root)
    store.set_member(ANT, ANNE, delivery=False, origin=by_root)
    store.remove_members(ANT, [ANNE], origin=by_root)
    store.remove_list(ANT, by_root)
    told = [each for each in reversed(store.records.history(ANT)) if each.origin.who == "root"]
    assert [(each.what, each.old, each.new) for each in told] == [
        ("setting.emergency", "no", "yes"),
        ("setting.subject_prefix", "", "[ant]"),
        ("ban", "", "troll@example.net"),
        ("ban", "troll@example.net", ""),
        ("delivery_status", "enabled", "by_owner"),
        ("left", "member", ""),
        ("list", "created", "removed"),
    ]
    assert {each.origin for each in told} == {by_root}


def test_the_history_is_read_in_pages_newest_first(store: Store) -> None:
    store.add_members(ANT, [f"m{number}@example.net" for number in range(7)])
    pages, before = [], None
    while page := store.records.history(ANT, before=before, limit=3):
        pages.append(len(page))
        before = page[-1].id
    assert sum(pages) == 9
    assert pages == [3, 3, 3]


def test_a_list_that_is_removed_leaves_nothing_but_its_story(store: Store) -> None:
    do(store, SetScore(ANT, ANNE, BounceRecord(score=Score(1.0, TODAY))), open_request("confirming"))
    do(store, FreezeScoring(list_id=ANT, topic="text:blocked", until=SOON))
    store.remove_list(ANT)
    assert (store.records.requests(), store.records.freezes(ANT)) == ((), ())
    assert story(store)[-1] == ("", "list", "created", "removed")
