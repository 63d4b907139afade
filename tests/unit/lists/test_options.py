"""List settings as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.errors import BadOption
from lists.model import ListSettings
from lists.options import change_settings, describe_option, from_rows, option_names, show_value, to_rows

DEFAULT = ListSettings()


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("generic_nonmember_action=reject", "generic_nonmember_action", "reject"),
        (" Emergency = yes", "emergency", True),
        ("emergency=off", "emergency", False),
        ("max_message_size=40960", "max_message_size", 40960),
        ("subject_prefix=[ant]", "subject_prefix", "[ant]"),
        ("description=a = b", "description", "a = b"),
        ("accept_these_nonmembers=a@x.example ^b@", "accept_these_nonmembers", ("a@x.example", "^b@")),
        ('accept_these_nonmembers=["^a b@"]', "accept_these_nonmembers", ("^a b@",)),
        ("accept_these_nonmembers=", "accept_these_nonmembers", ()),
        ("header_matches=X: a b -> hold", "header_matches", ("X: a b -> hold",)),
        (
            "header_matches=X:a->hold\n\n Y: [b] -> accept \n",
            "header_matches",
            ("X:a->hold", "Y: [b] -> accept"),
        ),
        ('header_matches=["X: a\\\\b -> hold"]', "header_matches", ("X: a\\b -> hold",)),
    ],
)
def test_key_and_value_change_one_option(text: str, name: str, value: object) -> None:
    assert getattr(change_settings(DEFAULT, [text]), name) == value


@pytest.mark.parametrize(
    ("text", "name", "nearest"),
    [
        ("generic_nonmember_acton=hold", "generic_nonmember_acton", "generic_nonmember_action"),
        ("generic_nonmember_action=rejct", "generic_nonmember_action", "reject"),
        ("emergency=maybe", "emergency", ""),
        ("max_message_size=40k", "max_message_size", ""),
        ("max_message_size=-1", "max_message_size", ""),
        ("emergency", "emergency", ""),
        ("zzz=1", "zzz", ""),
        ("subject_prefix=a\nBcc: x@example.net", "subject_prefix", ""),
        ("accept_these_nonmembers=^(a)\\1", "accept_these_nonmembers", ""),
        ("accept_these_nonmembers=a@x.example,b@x.example", "accept_these_nonmembers", ""),
        ('accept_these_nonmembers=["a', "accept_these_nonmembers", ""),
        ("acceptable_aliases=nobody", "acceptable_aliases", ""),
        ("header_matches=X-Spam: yes", "header_matches", ""),
        ("header_matches=X-Spam: yes -> bounce", "header_matches", ""),
        ("header_matches=X Spam: yes -> hold", "header_matches", ""),
        ("header_matches=X: (a)\\1 -> hold", "header_matches", ""),
        ("header_matches=" + "X: a -> hold\n" * 51, "header_matches", ""),
        ("header_matches=X:" + " " * 10**6, "header_matches", ""),
        ("max_num_recipients=1001", "max_num_recipients", ""),
        ("no_subject_action=defer", "no_subject_action", ""),
    ],
)
def test_a_wrong_option_is_named_with_the_nearest_right_one(text: str, name: str, nearest: str) -> None:
    with pytest.raises(BadOption) as caught:
        change_settings(DEFAULT, ["display_name=Ant", text])
    assert (caught.value.name, caught.value.nearest) == (name, nearest)


def test_every_option_says_what_it_is_for() -> None:
    assert all(describe_option(name).endswith((".", '"')) for name in option_names())


@given(
    st.sampled_from(["hold", "reject"]),
    st.booleans(),
    st.integers(0, 10**9),
    st.lists(st.sampled_from(["a@x.example", "^a b$", "^c"])),
    st.lists(st.sampled_from(["X: a -> hold", "X:->hold", "Y: a  b -> accept"])),
)
def test_settings_come_back_from_rows_and_from_text(
    action: str, emergency: bool, size: int, allowed: list[str], matches: list[str]
) -> None:
    settings = ListSettings(
        generic_nonmember_action=action,  # type: ignore[arg-type]
        emergency=emergency,
        max_message_size=size,
        accept_these_nonmembers=tuple(allowed),
        header_matches=tuple(matches),
    )
    assert from_rows(to_rows(settings)) == settings
    texts = [f"{name}={show_value(getattr(settings, name))}" for name in option_names()]
    assert change_settings(DEFAULT, texts) == settings


def test_only_what_is_not_at_its_default_is_stored() -> None:
    assert to_rows(DEFAULT) == {}
