"""docs/lmtp.md and docs/conformance.md name stories and words that exist."""

import re
from pathlib import Path

from tests.support.transcript import ACTS, stories

DOCS = Path(__file__).parents[3] / "docs"
NAMES = {story.name for story in stories()}


def test_the_stories_named_on_the_page_exist() -> None:
    """`conformance/NAME` in the table of clauses; a star stands for several."""
    named = re.findall(r"conformance/([\w*-]+)", (DOCS / "lmtp.md").read_text("utf-8"))
    assert len(named) > 20
    missing = [name for name in named if not any(_fits(name, each) for each in NAMES)]
    assert missing == []


def test_every_story_is_named_in_the_table_of_clauses() -> None:
    """So that whoever reads about a clause finds what shows it."""
    named = re.findall(r"conformance/([\w*-]+)", (DOCS / "lmtp.md").read_text("utf-8"))
    assert [story for story in sorted(NAMES) if not any(_fits(name, story) for name in named)] == []


def test_every_act_is_explained() -> None:
    """In the table of words."""
    page = (DOCS / "conformance.md").read_text("utf-8").lower()
    assert [act for act in ACTS if f"`{act}`" not in page] == []


def _fits(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern.replace("*", ".*"), name) is not None
