"""The end of DATA, and what becomes of a post."""

import pytest

from lists.address import split_recipient
from lists.policy import Refused, Taken
from lists.posts import Post
from lists.rules import Accept, Discard, Hold, Reject, Verdict, judge_data, judge_post
from tests.support.lists import make_policy, make_post, make_view

ANNE = "anne@example.net"
BART = "bart@example.net"
CLOSED = "generic_nonmember_action=reject"


def data(
    *options: str,
    sender: str = ANNE,
    to: str = "ant",
    size: int = 1000,
    post: Post | None = None,
    report: bool = False,
) -> Taken | Refused:
    view = make_view(make_policy(*options, members=[ANNE]))
    destination = split_recipient(f"{to}@example.org", view.names)
    return judge_data(destination, post or Post(sender, b"x" * size), view, is_report=report)


@pytest.mark.parametrize(
    ("options", "sender", "size", "code", "enhanced", "rule"),
    [
        ([], "", 1000, 550, "5.7.1", "null-sender"),
        ([], "double-bounce@example.net", 1000, 550, "5.7.1", "null-sender"),
        (["max_message_size=1000"], ANNE, 1001, 552, "5.3.4", "max-message-size"),
        (["member_moderation_action=reject"], ANNE, 1000, 550, "5.7.1", "member-moderation"),
        ([CLOSED], BART, 1000, 550, "5.7.1", "generic-nonmember-action"),
    ],
)
def test_what_would_bounce_later_is_refused_after_the_dot(
    options: list[str], sender: str, size: int, code: int, enhanced: str, rule: str
) -> None:
    answer = data(*options, sender=sender, size=size)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.enhanced, answer.rule) == (code, enhanced, rule)


@pytest.mark.parametrize(
    ("options", "sender", "size"),
    [
        (["max_message_size=1000"], ANNE, 1000),
        (["generic_nonmember_action=hold"], BART, 10**6),
        (["generic_nonmember_action=discard"], BART, 1),
        (["member_moderation_action=hold"], ANNE, 1),
        (["emergency=yes", CLOSED], BART, 1),
        ([CLOSED, "sender_check=off"], BART, 1),
    ],
)
def test_what_is_held_or_dropped_is_taken(options: list[str], sender: str, size: int) -> None:
    assert isinstance(data(*options, sender=sender, size=size), Taken)


def test_the_header_may_rescue_a_sender_whom_the_envelope_does_not_show() -> None:
    options = (CLOSED, "sender_check=message")
    for field in ("From", "Sender"):
        assert isinstance(data(*options, post=make_post(BART, f"{field}: {ANNE}")), Taken)
    stranger = data(*options, post=make_post(BART, f"From: {BART}"))
    assert isinstance(stranger, Refused)


def test_other_addresses_are_not_posts() -> None:
    for to in ("ant-bounces", "ant-owner", "ant-request", "ant-confirm+x"):
        assert isinstance(data("max_message_size=1", CLOSED, sender="", to=to, size=10**6), Taken)


def test_a_report_to_admin_is_known_by_its_content_too() -> None:
    answer = data(sender="MAILER-DAEMON@example.net", to="ant-admin", report=True)
    assert isinstance(answer, Taken)
    assert answer.destination.queue == "bounces"


def test_a_list_removed_since_rcpt_is_unknown() -> None:
    view = make_view(make_policy())
    destination = split_recipient("ant@example.org", view.names)
    answer = judge_data(destination, make_post(ANNE), make_view(domains=["example.org"]))
    assert isinstance(answer, Refused)
    assert answer.enhanced == "5.1.1"


@pytest.mark.parametrize(
    ("options", "post", "verdict"),
    [
        ([], make_post(ANNE), Accept("member-moderation")),
        ([], make_post(BART, "From: Anne@example.net"), Accept("member-moderation")),
        ([], make_post(BART), Hold("generic-nonmember-action")),
        (["generic_nonmember_action=discard"], make_post(BART), Discard("generic-nonmember-action")),
        (["generic_nonmember_action=accept"], make_post(BART), Accept("generic-nonmember-action")),
        (["accept_these_nonmembers=^bart"], make_post(BART), Accept("accept-these-nonmembers", at_once=True)),
        (["member_moderation_action=hold"], make_post(ANNE), Hold("member-moderation")),
        (["member_moderation_action=discard"], make_post(ANNE), Discard("member-moderation")),
        (["member_moderation_action=defer"], make_post(ANNE), Accept("no-rule")),
        (["sender_check=off", CLOSED], make_post(BART), Accept("member-moderation")),
        (["sender_check=off", "member_moderation_action=hold"], make_post(BART), Hold("member-moderation")),
        (["emergency=yes"], make_post(ANNE), Hold("emergency")),
        (["emergency=yes"], make_post(ANNE, "List-Id: <Ant.Example.org>"), Discard("loop")),
        ([], make_post(ANNE, "List-Post: <mailto:ant@example.org>"), Discard("loop")),
        (
            [],
            make_post(ANNE, "List-Id: <bee.example.org>", "List-Post: <mailto:bee@example.org>"),
            Accept("member-moderation"),
        ),
    ],
)
def test_the_first_rule_that_matches_decides(options: list[str], post: Post, verdict: Verdict) -> None:
    assert judge_post(post, make_policy(*options, members=[ANNE])) == verdict


def test_a_post_that_is_too_big_is_refused_whoever_sent_it() -> None:
    policy = make_policy(
        "emergency=yes", "max_message_size=10", members=[ANNE], member_actions={ANNE: "accept"}
    )
    for sender in (ANNE, BART):
        verdict = judge_post(Post(sender, b"x" * 11), policy)
        assert isinstance(verdict, Reject)
        assert (verdict.code, verdict.enhanced, verdict.rule) == (552, "5.3.4", "max-message-size")


def test_a_ban_counts_for_every_name_a_sender_gives() -> None:
    policy = make_policy("emergency=yes", members=[ANNE], bans=[BART])
    for post in (
        make_post(BART, f"From: {ANNE}"),
        make_post(ANNE, f"From: {BART}"),
        make_post(ANNE, f"Sender: {BART}"),
    ):
        verdict = judge_post(post, policy)
        assert isinstance(verdict, Reject)
        assert verdict.rule == "banned"


@pytest.mark.parametrize("action", ["accept", "hold", "reject", "discard"])
def test_a_member_s_own_action_wins_over_the_list_s(action: str) -> None:
    policy = make_policy("member_moderation_action=hold", members=[ANNE], member_actions={ANNE: action})
    kinds = {"accept": Accept, "hold": Hold, "reject": Reject, "discard": Discard}
    assert isinstance(judge_post(make_post(ANNE), policy), kinds[action])


def test_a_known_nonmember_s_own_action_wins_over_the_list_s() -> None:
    policy = make_policy("accept_these_nonmembers=^bart", nonmember_actions={BART: "discard"})
    assert judge_post(make_post(BART), policy) == Discard("nonmember-action-of-their-own")


def test_a_post_without_any_sender_in_its_header_is_judged_by_its_envelope() -> None:
    assert judge_post(make_post(ANNE), make_policy(CLOSED, members=[ANNE])) == Accept("member-moderation")
