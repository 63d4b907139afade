"""Each rule of the table, their order, and the law that ties the end of DATA to the runner: what one refuses, the other refuses."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lists.address import split_recipient
from lists.options import option_names
from lists.policy import ListPolicy, Refused, Taken
from lists.posts import Post
from lists.rules import (
    DATA_RULES,
    RULES,
    Accept,
    Discard,
    Hold,
    Reject,
    Rule,
    Verdict,
    explain_post,
    judge_data,
    judge_post,
    rules_for,
)
from tests.support.lists import make_policy, make_post, make_view

ANNE = "anne@example.net"
BART = "bart@example.net"
OK = Accept("member-moderation")


def judged(options: list[str], *lines: str, sender: str = ANNE) -> Verdict:
    return judge_post(make_post(sender, *lines), make_policy(*options, members=[ANNE]))


@pytest.mark.parametrize(
    ("options", "lines", "verdict"),
    [
        # loops
        ([], ["X-BeenThere: ant@example.org"], Discard("loop")),
        ([], ["X-Loop: Ant@Example.org"], Discard("loop")),
        ([], ["List-Id: The ants <ant.example.org>"], Discard("loop")),
        ([], ["Delivered-To: ant@example.org"], OK),  # the MTA's for this delivery
        ([], ["Delivered-To: ant@example.org"] * 2, Discard("loop")),
        ([], ["Delivered-To: anne@example.net", "Delivered-To: ant@example.org"], OK),
        # fields
        (["header_matches=X-Spam-Flag: ^yes -> discard"], ["X-Spam-Flag: YES"], Discard("header-matches")),
        (["header_matches=X-Spam-Flag: ^yes -> discard"], ["X-Spam-Flag: no, yes"], OK),
        (["header_matches=Subject: grüße -> hold"], ["Subject: =?iso-8859-1?q?Viele_Gr=FC=DFe?="], Hold("header-matches")),
        (["header_matches=Subject: iso-8859-1 -> hold"], ["Subject: =?iso-8859-1?q?a?="], Hold("header-matches")),
        (["header_matches=X-Approved: -> accept", "member_moderation_action=hold"], ["x-approved:"], Accept("header-matches", at_once=True)),
        (["header_matches=X: a -> hold\nX: b -> discard"], ["X: c", "X: b"], Discard("header-matches")),
        (["header_matches=X: a -> hold\nX: b -> discard"], ["X: b a"], Hold("header-matches")),
        (["header_matches=X: a -> accept", "emergency=yes"], ["X: a"], Hold("emergency")),
        # From
        (["malformed_from_action=hold"], ["From: anne@example.net"], OK),
        (["malformed_from_action=hold"], ["From: A <anne@example.net>, bart@example.net"], OK),  # RFC 5322 3.6.2
        (["malformed_from_action=hold"], [], Hold("malformed-from")),
        (["malformed_from_action=hold"], ["From: Anne"], Hold("malformed-from")),
        (["malformed_from_action=hold"], ["From: anne@example..net"], Hold("malformed-from")),
        (["malformed_from_action=discard"], ["From: anne@example.net"] * 2, Discard("malformed-from")),
        # programs
        (["auto_submitted_action=hold"], ["Auto-Submitted: no"], OK),
        (["auto_submitted_action=hold"], ["Auto-Submitted: auto-replied (vacation)"], Hold("auto-submitted")),
        (["auto_submitted_action=discard"], ["Auto-Submitted: something-new"], Discard("auto-submitted")),
        (["bulk_precedence_action=hold"], ["Precedence: first-class"], OK),
        (["bulk_precedence_action=discard"], ["Precedence: Junk"], Discard("bulk-precedence")),
        # subject
        (["no_subject_action=hold"], ["Subject: =?utf-8?q?_?="], Hold("no-subject")),
        (["no_subject_action=hold"], [], Hold("no-subject")),
        (["no_subject_action=hold"], ["Subject: x"], OK),
        # recipients
        (["max_num_recipients=3"], ["To: a@b.example, c@d.example"], OK),
        (["max_num_recipients=3"], ["To: a@b.example", "Cc: c@d.example, e@f.example"], Hold("max-num-recipients")),
        (["require_explicit_destination=yes"], ["To: Ants <ANT@example.org>"], OK),
        (["require_explicit_destination=yes"], ["To: x@y.example", "Resent-To: ant@example.org"], OK),
        (["require_explicit_destination=yes"], ["To: x@y.example"], Hold("explicit-destination")),
        (["require_explicit_destination=yes", "acceptable_aliases=^all@"], ["Cc: all@corp.example"], OK),
        # what is too long to be edited
        ([], ["A: b"] * 3000, Hold("header-too-long")),
        (["header_matches=A: b -> accept"], ["A: b"] * 3000, Hold("header-too-long")),
    ],
)  # fmt: skip
def test_each_rule_says_what_its_option_says(options: list[str], lines: list[str], verdict: Verdict) -> None:
    assert judged(options, *lines) == verdict


@pytest.mark.parametrize(
    ("option", "lines", "reply"),
    [
        ("header_matches=subject: buy -> reject", ["Subject: Buy"], (550, "5.7.1", "This list does not take mail with this Subject field")),
        ("auto_submitted_action=reject", ["Auto-Submitted: auto-replied"], (550, "5.7.1", "This list does not take automatic mail")),
        ("bulk_precedence_action=reject", ["Precedence: list"], (550, "5.7.1", "This list does not take mail with Precedence bulk, junk or list")),
        ("malformed_from_action=reject", [], (550, "5.6.0", "This list needs one From field with a valid address (RFC 5322 3.6)")),
        ("no_subject_action=reject", [], (550, "5.6.0", "This list does not take mail without a subject")),
    ],
)  # fmt: skip
def test_a_refusal_tells_the_sender_what_would_help(
    option: str, lines: list[str], reply: tuple[int, str, str]
) -> None:
    post, view = make_post(ANNE, *lines), make_view(make_policy(option, members=[ANNE]))
    answer = judge_data(split_recipient("ant@example.org", view.names), post, view)
    assert isinstance(answer, Refused)
    assert (answer.code, answer.enhanced, answer.text) == reply


def test_what_makes_a_post_only_suspect_does_not_save_a_stranger_s() -> None:
    options = ["generic_nonmember_action=discard", "max_num_recipients=1", "require_explicit_destination=yes"]
    assert judged(options, "To: x@y.example", sender=BART) == Discard("generic-nonmember-action")
    assert judged(options, "To: x@y.example") == Hold("max-num-recipients")


def test_whom_the_owner_names_skips_what_comes_behind() -> None:
    options = ["no_subject_action=reject", "require_explicit_destination=yes"]
    own = make_policy(
        *options, members=[ANNE], member_actions={ANNE: "accept"}, nonmember_actions={BART: "accept"}
    )
    assert judge_post(make_post(ANNE), own) == Accept("member-moderation", at_once=True)
    assert judge_post(make_post(BART), own) == Accept("nonmember-action-of-their-own", at_once=True)
    allowed = make_policy(*options, "accept_these_nonmembers=^bart")
    assert judge_post(make_post(BART), allowed) == Accept("accept-these-nonmembers", at_once=True)


def test_without_a_message_only_the_envelope_is_judged() -> None:
    policy = make_policy("max_message_size=1", "no_subject_action=reject", "malformed_from_action=reject")
    assert judge_post(Post(ANNE, None), policy) == Hold("generic-nonmember-action")
    asked = {finding.rule.name for finding in explain_post(Post(ANNE, None), policy) if finding.was_asked}
    assert asked == {rule.name for rule in RULES if rule.needs == "envelope"}


# The dot and the runner -----------------------------------------------------------------------------------------------

ACTIONS = ("accept", "hold", "reject", "discard")
OPTIONS = [
    [],
    *([f"{name}={action}"] for name in ("generic_nonmember_action", "member_moderation_action", "auto_submitted_action", "bulk_precedence_action", "malformed_from_action", "no_subject_action") for action in ACTIONS),
    *([f"header_matches=X-Spam: yes -> {action}"] for action in ACTIONS),
    *([f"sender_check={check}"] for check in ("envelope", "message", "off")),
    ["member_moderation_action=defer"],
    ["emergency=yes"],
    ["max_message_size=200"],
    ["max_num_recipients=1"],
    ["require_explicit_destination=yes"],
    ["accept_these_nonmembers=^bart"],
]  # fmt: skip
LINES = [
    "From: anne@example.net", "From: bart@example.net", "From: carl@example.net", "Sender: anne@example.net", "From: <", "Subject: x", "Subject:", "X-Spam: yes",
    "X-spam : YES", "Auto-Submitted: auto-replied", "Precedence: bulk", "To: ant@example.org", "List-Id: <ant.example.org>", "X-BeenThere: ant@example.org", "no field",
]  # fmt: skip
SENDERS = ["", "double-bounce@example.net", ANNE, BART, "carl@example.net", "dora@example.net"]
OWN = {"carl@example.net": "reject"}
POLICIES: list[dict[str, object]] = [
    {},
    {"members": [ANNE]},
    {"members": [ANNE, "carl@example.net"], "member_actions": OWN},
    {"nonmember_actions": OWN},
    {"members": [ANNE], "bans": [BART]},
    {"members": [ANNE, BART], "site_bans": ["^carl@"]},
]

policies = st.builds(
    lambda parts, kwargs: make_policy(*(each for part in parts for each in part), **kwargs),
    st.lists(st.sampled_from(OPTIONS), max_size=3),
    st.sampled_from(POLICIES),
)
posts = st.builds(
    lambda sender, lines, body: make_post(sender, *lines, body="x" * body),
    st.sampled_from(SENDERS),
    st.lists(st.sampled_from(LINES), max_size=5),
    st.sampled_from([1, 300]),
)


def assert_agree(post: Post, policy: ListPolicy) -> None:
    """Hold the answer after the dot against what incoming makes of the same post, read anew."""
    exact = replace(
        policy, refuses_some="reject" in {*policy.member_actions.values(), *policy.nonmember_actions.values()}
    )
    for each in (policy, exact):
        view = make_view(each)
        answer = judge_data(split_recipient("ant@example.org", view.names), post, view)
        later = judge_post(Post(post.reverse_path, post.content), each)
        if isinstance(later, Reject):
            assert answer == Refused(later.code, later.enhanced, later.text, later.rule)
        else:
            assert isinstance(answer, Taken)


@pytest.mark.slow
@settings(max_examples=500)
@given(posts, policies)
def test_what_incoming_would_reject_is_refused_after_the_dot_and_nothing_else(
    post: Post, policy: ListPolicy
) -> None:
    assert_agree(post, policy)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_dot_and_incoming_agree_over_the_whole_table(options: list[str]) -> None:
    for kwargs in POLICIES:
        policy = make_policy(*options, **kwargs)  # type: ignore[arg-type]
        for sender in SENDERS:
            for line in LINES:
                assert_agree(make_post(sender, line), policy)


@given(posts, policies)
def test_the_explanation_names_the_rule_that_decides(post: Post, policy: ListPolicy) -> None:
    verdict = judge_post(post, policy)
    findings = explain_post(post, policy)
    assert [finding.rule for finding in findings] == list(RULES)
    assert [finding.rule.name for finding in findings if finding.decides] == (
        [] if verdict.rule == "no-rule" else [verdict.rule]
    )


@given(posts, policies)
def test_a_rule_that_does_not_concern_a_list_has_no_opinion_about_any_post(
    post: Post, policy: ListPolicy
) -> None:
    for each in (post, Post(post.reverse_path, None)):
        assert judge_post(each, policy, rules_for(policy)) == judge_post(each, policy)
    for rule in set(RULES) - set(rules_for(policy)):
        assert rule.judge(post, policy) is None


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_the_rules_of_a_list_decide_as_the_whole_table_does(options: list[str]) -> None:
    for kwargs in POLICIES:
        policy = make_policy(*options, **kwargs)  # type: ignore[arg-type]
        for sender in SENDERS:
            for line in LINES:
                post = make_post(sender, line)
                assert judge_post(post, policy, rules_for(policy)) == judge_post(post, policy)


def test_a_rule_that_may_refuse_is_asked_after_the_dot() -> None:
    assert all(rule.may_refuse is None for rule in RULES[len(DATA_RULES) :])
    assert len({rule.name for rule in RULES}) == len(RULES)


def test_a_rule_that_raises_decides_nothing() -> None:
    """Neither accept nor refuse: who asked answers for it (451 in the dialogue, a retry in the runner)."""

    def broken(post: Post, policy: ListPolicy) -> Verdict | None:
        raise ZeroDivisionError

    rules = (*RULES[:3], Rule("broken", broken, "envelope"), *RULES[3:])
    with pytest.raises(ZeroDivisionError):
        judge_post(make_post(ANNE), make_policy(members=[ANNE]), rules)


def test_an_action_that_nobody_knows_is_our_fault_and_decides_nothing() -> None:
    policy = make_policy(members=[ANNE], member_actions={ANNE: "acept"})
    with pytest.raises(ValueError, match="acept"):
        judge_post(make_post(ANNE), policy)


# The page -------------------------------------------------------------------------------------------------------------


def test_the_page_has_the_table_as_it_is() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    rows = re.findall(r"^\| \d+ \| `([a-z-]+)` \| (\w+) \| (.*?) \| (yes|no) \|(.*)\|$", page, re.MULTILINE)
    written = [(name, needs, dot, re.findall(r"`(\w+)`", options)) for name, needs, _, dot, options in rows]
    assert written == [
        (rule.name, rule.needs, "yes" if rule.may_refuse else "no", list(rule.options)) for rule in RULES
    ]
    named = {name for rule in RULES for name in rule.options}
    assert named <= set(option_names())
