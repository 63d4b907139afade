"""What may be said of one membership as KEY=VALUE: `members set`, and the `set` command by mail for what is the member's own.

Pure. Each option is explained here once; an error names the option and, when there is one, the nearest right name.
"""

import difflib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final, get_args

from msgspec import Struct

from config.names import ListId
from lists.changes import Change, SetDelivery, SetPreference
from lists.errors import BadOption
from lists.model import DeliveryMode, MemberAction, Role

_YES_NO: Final = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}
MAX_TEXT: Final = 200  # characters of a name; a line of a header has room for it


class MemberOption(Struct, frozen=True):
    """One option: what it takes and what it means."""

    name: str
    takes: str  # "yes|no", choices, or a word for a free text
    meaning: str
    is_owners: bool = False  # the member cannot set it


OPTIONS: Final = (
    MemberOption("delivery", "yes|no", "Gets posts. no is remembered as the owner's doing.", is_owners=True),
    MemberOption(
        "delivery_status",
        "enabled|by_user|by_owner|vacation",
        "The same, saying who stopped it. by_bounces is for bounces alone.",
        is_owners=True,
    ),
    MemberOption("until", "YYYY-MM-DD", "With delivery_status: from this day (UTC) on it is enabled again."),
    MemberOption(
        "delivery_mode",
        "|".join(get_args(DeliveryMode)),
        "Each post, or digests. Kept for digests, which come with a later version: until then every post is sent.",
    ),
    MemberOption(
        "moderation_action",
        "|".join(get_args(MemberAction)),
        "What becomes of this member's posts; empty: what the list says.",
        is_owners=True,
    ),
    MemberOption(
        "receive_own_postings",
        "yes|no",
        "Gets a copy of their own posts. Kept only: every member still gets each post.",
    ),
    MemberOption(
        "acknowledge_posts",
        "yes|no",
        "Is told when a post of theirs went out. Kept only, until there are receipts.",
    ),
    MemberOption("hide_address", "yes|no", "Is not shown to other members."),
    MemberOption("display_name", "TEXT", "Their name."),
    MemberOption("language", "CODE", "Of the texts for them, as in de or pt-BR; empty: the list's."),
)
_BY_NAME: Final = {option.name: option for option in OPTIONS}


def read_member_changes(
    list_id: ListId, address: str, assignments: Iterable[str], role: Role = "member"
) -> tuple[Change, ...]:
    """Turn KEY=VALUE texts into the changes that they ask for; raises BadOption for the first that is not in order."""
    values: dict[str, str] = {}
    for text in assignments:
        name, equals, value = text.partition("=")
        name = name.strip().lower()
        _check_name(name)
        if not equals:
            raise BadOption(name, f"needs a value: {name}={_BY_NAME[name].takes}")
        values[name] = value.strip()
    delivery = _read_delivery(list_id, address, role, values)
    preferences: dict[str, Any] = {name: _read(name, value) for name, value in values.items()}
    if not preferences:
        return delivery
    return (*delivery, SetPreference(list_id=list_id, address=address, role=role, **preferences))


def _check_name(name: str) -> None:
    if name not in _BY_NAME:
        near = difflib.get_close_matches(name, _BY_NAME, n=1, cutoff=0.5)
        hint = "" if near else f"; there are {', '.join(_BY_NAME)}"
        raise BadOption(name, f"there is no such option of a member{hint}", near[0] if near else "")


def _read_delivery(list_id: ListId, address: str, role: Role, values: dict[str, str]) -> tuple[Change, ...]:
    """Take what is said of delivery out of `values`; its three words are one change."""
    status = values.pop("delivery_status", None)
    if "delivery" in values:
        if status is not None:
            raise BadOption("delivery", "says the same as delivery_status: give one of them")
        status = "enabled" if _read_bool("delivery", values.pop("delivery")) else "by_owner"
    day = values.pop("until", None)
    if status is None:
        if day is not None:
            raise BadOption("until", "goes with delivery_status=vacation, by_user or by_owner")
        return ()
    _choose("delivery_status", status)
    if day is None:
        return (SetDelivery(list_id, address, status, role=role),)  # type: ignore[arg-type]  # _choose has looked
    if status == "enabled":
        raise BadOption("until", "goes with delivery_status=vacation, by_user or by_owner")
    return (SetDelivery(list_id, address, status, read_day("until", day), role),)  # type: ignore[arg-type]  # _choose has looked


def read_day(name: str, text: str) -> datetime:
    """Return the first moment of a day, YYYY-MM-DD in UTC; raises BadOption."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise BadOption(name, f"{text!r} is no day: write YYYY-MM-DD") from error


def _read(name: str, text: str) -> Any:
    takes = _BY_NAME[name].takes
    if takes == "yes|no":
        return _read_bool(name, text)
    if "|" in takes:
        return text if text == "" and name == "moderation_action" else _choose(name, text)
    return _read_text(name, text)


def _read_bool(name: str, text: str) -> bool:
    if text.lower() not in _YES_NO:
        raise BadOption(name, f"{text!r} is neither yes nor no")
    return _YES_NO[text.lower()]


def _choose(name: str, text: str) -> str:
    choices = _BY_NAME[name].takes.split("|")
    if text not in choices:
        near = difflib.get_close_matches(text.lower(), choices, n=1, cutoff=0.5)
        raise BadOption(name, f"{text!r} is not one of {', '.join(choices)}", near[0] if near else "")
    return text


def _read_text(name: str, text: str) -> str:
    if len(text) > MAX_TEXT or not text.isprintable():
        raise BadOption(name, f"takes one line of at most {MAX_TEXT} characters")
    if name == "language" and not all(part.isalnum() and part.isascii() for part in text.split("-") if text):
        raise BadOption(name, f"{text!r} is no language: write de or pt-BR")
    return text
