"""Every story of tests/conformance, told to the real front-end over the sockets and at every pace that it allows."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.conformance import ConformanceSite, sites_by_settings
from tests.support.player import play
from tests.support.transcript import Story, stories

pytestmark = pytest.mark.slow
TOLD = [(story, socket) for story in stories() for socket in story.sockets]


@pytest.fixture(scope="module")
def site_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Story], ConformanceSite]]:
    """The site of a story."""
    with sites_by_settings(tmp_path_factory.mktemp) as sites:
        yield sites


@pytest.mark.parametrize(("story", "socket"), TOLD, ids=[f"{story.name}-{socket}" for story, socket in TOLD])
def test_the_front_end_answers_as_the_story_says(
    story: Story, socket: str, site_of: Callable[[Story], ConformanceSite]
) -> None:
    """As written, as one write, and one octet at a time."""
    site = site_of(story)
    for pace in story.paces:
        played = play(story, site.address(socket), pace, site.shelf, site.rules)
        finding = played.finding
        assert finding is None, (
            f"{story.name}.txt:{finding.line} ({pace}): expected {finding.expected}, got {finding.got}"
        )
        assert played.has_enhanced
    assert bool(site.errors()) == bool(story.fault)
