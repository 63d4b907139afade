"""The five tests of RCPT, in their order."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from config.names import ItemId, ListId
from lists.policy import (
    BANNED,
    NOT_A_MEMBER,
    RULES_OF_MEMBERSHIP,
    Refused,
    Taken,
    TokenCheck,
    judge_recipient,
)
from lists.tokens import SiteKey, make_token
from tests.support.lists import make_policy, make_view

ANNE = "anne@example.net"
CLOSED = "generic_nonmember_action=reject"


@pytest.mark.parametrize(
    ("options", "sender", "rule"),
    [
        # 2: accept_these_nonmembers
        ([CLOSED, "accept_these_nonmembers=bart@example.net"], "Bart@Example.net", "accept-these-nonmembers"),
        (
            [CLOSED, "accept_these_nonmembers=^.*@example\\.net"],
            "bart@example.net",
            "accept-these-nonmembers",
        ),
        # 3: the list takes others' mail, whatever becomes of it
        (["generic_nonmember_action=accept"], "bart@example.net", "generic-nonmember-action"),
        (["generic_nonmember_action=hold"], "bart@example.net", "generic-nonmember-action"),
        (["generic_nonmember_action=discard"], "bart@example.net", "generic-nonmember-action"),
        # 4: a member
        ([CLOSED], ANNE, "member"),
        ([CLOSED], "ANNE@example.NET", "member"),
        # not decided here
        ([CLOSED, "sender_check=message"], "bart@example.net", "sender-check-message"),
        ([CLOSED, "sender_check=off"], "bart@example.net", "sender-check-off"),
        # callouts and probes
        ([CLOSED], "", "null-sender"),
        ([CLOSED], "double-bounce@mail.example.net", "null-sender"),
        ([CLOSED], "Double-Bounce@mail.example.net", "null-sender"),
    ],
)
def test_a_sender_is_taken_by_the_first_test_that_knows_him(
    options: list[str], sender: str, rule: str
) -> None:
    answer = judge_recipient(sender, "ant@example.org", make_view(make_policy(*options, members=[ANNE])))
    assert isinstance(answer, Taken)
    assert (answer.rule, answer.destination.queue) == (rule, "incoming")


@pytest.mark.parametrize(
    ("sender", "recipient", "code", "enhanced", "rule"),
    [
        ("bart@example.net", "ant@example.org", 550, "5.7.1", "not-a-member"),
        ("xanne@example.net", "ant@example.org", 550, "5.7.1", "not-a-member"),
        (ANNE, "bee@example.org", 550, "5.1.1", "unknown-list"),
        ("", "bee@example.org", 550, "5.1.1", "unknown-list"),
        ("double-bounce@example.net", "bee@example.org", 550, "5.1.1", "unknown-list"),
        (ANNE, "ant@example.com", 550, "5.7.1", "foreign-domain"),
        (ANNE, "ant", 553, "5.1.3", "bad-address"),
    ],
)
def test_a_refusal_states_its_fact(sender: str, recipient: str, code: int, enhanced: str, rule: str) -> None:
    answer = judge_recipient(sender, recipient, make_view(make_policy(CLOSED, members=[ANNE])))
    assert isinstance(answer, Refused)
    assert (answer.code, answer.enhanced, answer.rule) == (code, enhanced, rule)


@pytest.mark.parametrize(
    "option", ["accept_these_nonmembers=^anne", "sender_check=off", "generic_nonmember_action=accept"]
)
def test_a_banned_sender_is_refused_before_every_other_test(option: str) -> None:
    for policy in (
        make_policy(option, members=[ANNE], bans=["^anne@"]),
        make_policy(option, members=[ANNE], site_bans=[ANNE]),
    ):
        answer = judge_recipient(ANNE, "ant@example.org", make_view(policy))
        assert isinstance(answer, Refused)
        assert (answer.code, answer.enhanced, answer.rule) == (550, "5.7.1", "banned")


def test_a_banned_sender_may_write_to_the_owner_and_leave() -> None:
    view = make_view(make_policy(CLOSED, bans=[ANNE]))
    for suffix in ("owner", "leave", "request", "bounces", "confirm+x"):
        assert isinstance(judge_recipient(ANNE, f"ant-{suffix}@example.org", view), Taken)


@given(st.emails())
def test_every_stranger_reads_the_same_text(sender: str) -> None:
    """Nobody learns from our answer who is a member."""
    view = make_view(make_policy(CLOSED, members=["anne@only.members.example"]))
    assert judge_recipient(sender, "ant@example.org", view) == NOT_A_MEMBER


@pytest.mark.parametrize(
    "suffix", ["bounces", "bounces+x=y.z", "confirm+TOKEN", "join", "leave", "owner", "request"]
)
@pytest.mark.parametrize("sender", ["", "stranger@example.com", "double-bounce@example.net"])
def test_all_other_addresses_take_any_sender(suffix: str, sender: str) -> None:
    answer = judge_recipient(sender, f"ant-{suffix}@example.org", make_view(make_policy(CLOSED)))
    assert isinstance(answer, Taken)


def test_a_report_to_admin_goes_to_bounces_and_a_letter_to_the_owners() -> None:
    view = make_view(make_policy(CLOSED))
    report = judge_recipient("", "ant-admin@example.org", view)
    letter = judge_recipient(ANNE, "ant-admin@example.org", view)
    assert isinstance(report, Taken)
    assert isinstance(letter, Taken)
    assert (report.destination.queue, report.destination.purpose) == ("bounces", "bounce")
    assert letter.destination.queue == "owner"


@pytest.mark.parametrize(
    ("action", "taken"), [("accept", True), ("hold", True), ("discard", True), ("reject", False)]
)
def test_a_known_nonmember_is_taken_unless_his_own_action_is_reject(action: str, taken: bool) -> None:
    view = make_view(make_policy(CLOSED, nonmember_actions={"bart@example.net": action}))
    assert isinstance(judge_recipient("Bart@example.net", "ant@example.org", view), Taken) is taken


@pytest.mark.parametrize("check", ["envelope", "message", "off"])
@pytest.mark.parametrize("action", ["accept", "hold", "reject", "discard"])
def test_the_rules_of_membership_decide_about_members_and_strangers_alike(check: str, action: str) -> None:
    """Else the limit on guessing would answer one of them only, and tell what it is there to hide."""
    view = make_view(
        make_policy(f"sender_check={check}", f"generic_nonmember_action={action}", members=[ANNE])
    )
    answers = [judge_recipient(sender, "ant@example.org", view) for sender in (ANNE, "bart@example.net")]
    limited = [answer.rule in RULES_OF_MEMBERSHIP for answer in answers]
    assert limited[0] == limited[1] == (type(answers[0]) is not type(answers[1]))


# Who stands behind a reverse-path ---------------------------------------------------------------------------------------

DISGUISED = [
    "SRS0=6nHz=Z7=example.net=anne@forward.example",
    "SRS1=2w3F=first.example==6nHz=Z7=example.net=anne@second.example",
    "prvs=0123456789=anne@example.net",
    "prvs=anne=0123456789@example.net",
    "anne+ant=example.org@example.net",
]


@pytest.mark.parametrize("sender", DISGUISED)
def test_a_member_behind_a_forwarder_or_a_tag_is_one(sender: str) -> None:
    answer = judge_recipient(sender, "ant@example.org", make_view(make_policy(CLOSED, members=[ANNE])))
    assert isinstance(answer, Taken)
    assert answer.rule == "member"


@pytest.mark.parametrize("sender", DISGUISED)
def test_a_ban_reaches_behind_a_forwarder_or_a_tag(sender: str) -> None:
    view = make_view(make_policy("generic_nonmember_action=accept", bans=[ANNE]))
    assert judge_recipient(sender, "ant@example.org", view) == BANNED


# Tokens -----------------------------------------------------------------------------------------------------------------

KEY = SiteKey(b"k" * 32)
ANT, BEE = ListId("ant.example.org"), ListId("bee.example.org")
TOKEN = make_token(KEY, "confirm", ItemId("0" * 32), ANT, ANNE)
HEX40 = "0123456789abcdef0123456789ABCDEF01234567"
TODAY = date(2026, 11, 23)


def judge_token(token: str, until: date | None = None, today: date | None = TODAY) -> Taken | Refused:
    policies = make_policy(CLOSED), make_policy(CLOSED, address="bee@example.org")
    view = replace(make_view(*policies), tokens=TokenCheck(KEY, until))
    return judge_recipient("", f"ant-confirm{token}@example.org", view, today)


@pytest.mark.parametrize("token", ["", f"+{TOKEN}", f"+{TOKEN.upper()}"])
def test_a_token_that_we_made_is_taken_without_a_look_up(token: str) -> None:
    """Also a used or an expired one: the runner says so in words."""
    assert isinstance(judge_token(token), Taken)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        TOKEN[:-1],
        TOKEN + "a",
        "a" * 24,
        TOKEN + "@x",
        make_token(KEY, "confirm", ItemId("0" * 32), BEE, ANNE),
        make_token(KEY, "probe", ItemId("0" * 32), ANT, ANNE),
        HEX40,
    ],
)
def test_a_token_that_nobody_made_is_refused(token: str) -> None:
    answer = judge_token(f"+{token}")
    assert isinstance(answer, Refused)
    assert (answer.code, answer.enhanced) == (550, "5.1.1")


@pytest.mark.parametrize(
    ("until", "today", "taken"),
    [
        (TODAY, TODAY, True),
        (TODAY + timedelta(days=1), TODAY, True),
        (TODAY - timedelta(days=1), TODAY, False),
        (None, TODAY, False),
        (TODAY, None, False),
    ],
)
def test_mailmans_tokens_are_taken_until_their_day(
    until: date | None, today: date | None, taken: bool
) -> None:
    assert isinstance(judge_token(f"+{HEX40}", until, today), Taken) is taken


@pytest.mark.parametrize("token", ["x", HEX40, "anne=example.net", TOKEN])
def test_bounces_take_every_token(token: str) -> None:
    """A bounce that is refused is lost for ever; what does not verify scores nothing."""
    view = replace(make_view(make_policy(CLOSED)), tokens=TokenCheck(KEY))
    assert isinstance(judge_recipient("", f"ant-bounces+{token}@example.org", view), Taken)
