"""A provider refuses everything from us for a day: that is not about its customers, and nobody loses a membership (the brake)."""

import pytest

from tests.stories.bouncing import returns
from tests.support.story import Story

pytestmark = pytest.mark.slow

OLGA = "olga@example.com"


ONE_DOMAIN = ("one domain", ["big.example"], "5.1.1", "550 5.1.1 no such user", 2)
SAME_WORDS = (
    "the same words at many",
    ["one.example", "two.example", "three.example"],
    "5.7.1",
    "550 5.7.1 203.0.113.9 is on our block list, id",
    1,  # a refusal for policy counts a quarter: four days to the threshold
)


@pytest.mark.parametrize("case", [ONE_DOMAIN, SAME_WORDS], ids=lambda case: str(case[0]))
def test_the_owner_hears_of_it_once_and_everybody_stays(
    story: Story, case: tuple[str, list[str], str, str, int]
) -> None:
    what, domains, status, said, threshold = case
    customers = [f"m{number}@{domains[number % len(domains)]}" for number in range(9)]
    settings = [f"bounce_score_threshold={threshold}", "bounce_probes=no"]
    people = [*customers, "anne@example.net"]
    ant = story.make_list("ant@example.org", owners=[OLGA], members=people, settings=settings)
    for day in range(5):
        for number, address in enumerate(customers):
            returns(story, address, status=status, said=f"{said} {100 * day + number}")
        story.wait_quiet()
        story.wait_days(1)
    words = domains[0] if what == "one domain" else "the same words"
    assert words in story.hears(OLGA, "many members cannot be reached").subject
    story.hears_nothing(OLGA)
    for address in customers:
        member = story.member(ant, address)
        assert member is not None
        assert member.delivery, address
        assert story.count(address) == 0

    # Anne is somewhere else, and what comes back from there is about her.
    for _ in range(2):
        returns(story, "anne@example.net")
        story.wait_quiet()
        story.wait_days(1)
    story.hears("anne@example.net", "ant cannot reach you")
    assert story.shunts() == []
