"""The form of a rule: a row of the table."""

from collections.abc import Callable
from typing import Literal

from msgspec import Struct

from lists.policy import ListPolicy
from lists.posts import Post
from lists.rules.verdicts import Verdict

Needs = Literal["envelope", "size", "header"]


class Rule(Struct, frozen=True):
    """One question about a post, and where it may be decided."""

    name: str  # of its verdicts too
    judge: Callable[[Post, ListPolicy], Verdict | None]  # pure; None: no opinion
    # Without it the rule is not asked: a message, when only the envelope is known. Rules about senders look at the header if there is one.
    needs: Needs
    # Could it end in a Reject? Quick, mostly without the header, and too often True rather than too seldom. None: never rejects,
    # so the end of DATA need not ask it for its own sake.
    may_refuse: Callable[[Post, ListPolicy], bool] | None = None
    options: tuple[str, ...] = ()  # the list settings it goes by
    can_be_skipped: bool = True  # by an Accept that is at_once
    # Could it have an opinion about any post to this list? No look at a post. None: always.
    concerns: Callable[[ListPolicy], bool] | None = None
