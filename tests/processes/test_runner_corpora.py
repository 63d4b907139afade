"""The bounces that others have collected, through the real runner: each to a list of its own, where everybody whom the mail names is a member."""

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from bus.client import publish_now
from config.names import ListId
from lists.bounces.brake import MIN_MEMBERS
from lists.bounces.reading import read_report
from lists.errors import BadAddress
from lists.mailbox import address_key, check_address
from lists.roster import Roster
from tests.support.bus_process import make_item
from tests.support.corpora import SIZES, read_samples
from tests.support.runners import RunnerSite
from tests.unit.bounces.labels import AUTOMATIC

pytestmark = pytest.mark.slow

_ADDRESS = re.compile(rb"[A-Za-z0-9._%+#=-]{1,64}@[A-Za-z0-9.-]{1,200}")
MAX_MEMBERS = 40  # of the addresses in one mail


def people_in(octets: bytes) -> set[str]:
    """Return who is named anywhere in a mail, and whom its reader finds."""
    named = {found.decode().strip(".") for found in _ADDRESS.findall(octets)}
    read = {address for failure in read_report(octets).failures for address in failure.addresses}
    return {*sorted(filter(is_address, named))[:MAX_MEMBERS], *filter(is_address, read)}


def is_address(text: str) -> bool:
    try:
        check_address(text)
    except BadAddress:
        return False
    return True


def failed_in(octets: bytes) -> list[set[str]]:
    """Return for each failure for good whom it may mean."""
    return [
        {address_key(address) for address in failure.addresses if is_address(address)}
        for failure in read_report(octets).failures
        if failure.is_permanent
    ]


def scored_in(list_id: ListId, people: Iterable[str], roster: Roster) -> set[str]:
    """Return whose bounces add up to something in a list."""
    return {address_key(each) for each in people if roster.bounces(list_id, each).score.value > 0}


@pytest.mark.timeout(240)
def test_every_sample_passes_and_scores_whom_it_names_and_nobody_for_a_reply(tmp_path: Path) -> None:
    samples = {name: octets for corpus in SIZES for name, octets in read_samples(corpus).items()}
    lists = {ListId(f"s{number}.example.org"): name for number, name in enumerate(samples)}
    with RunnerSite(tmp_path) as site:
        for list_id, name in lists.items():
            address = list_id.replace(".", "@", 1)
            site.create_list(address, sorted(people_in(samples[name])), settings=["bounce_probes=no"])
        for list_id, name in lists.items():
            recipient = list_id.replace(".", "-bounces@", 1)
            item = make_item("bounces", list_id, recipient=recipient, reverse_path="")
            publish_now(site.settings, [item], samples[name])
        site.start("bounces")
        site.wait_empty("bounces", within_s=120)

        assert site.shunts() == []
        assert site.lines("item.failed") == []
        assert len(site.lines("item.handled")) == len(samples)
        lines = site.lines("bounce.scored")
        named = {
            name: {line["member"] for line in lines if line["list_id"] == list_id}
            for list_id, name in lists.items()
        }
        scored = {  # not those of a report that names so many of one provider that the brake holds it for an incident
            name: {
                line["member"] for line in lines if line["list_id"] == list_id and line["why"] == "counted"
            }
            for list_id, name in lists.items()
        }
        stored = {
            name: site.store.look(partial(scored_in, list_id, people_in(samples[name])))
            for list_id, name in lists.items()
        }
    assert {name: members for name, members in named.items() if members and name in AUTOMATIC} == {}
    for name, octets in samples.items():
        keys = {address_key(member) for member in named[name]}
        assert {address_key(member) for member in scored[name]} == stored[name], name
        assert stored[name] == keys or (stored[name] == set() and len(keys) >= MIN_MEMBERS), name
        assert all(keys & meant for meant in failed_in(octets) if meant), name
        assert all(any(key in meant for meant in failed_in(octets)) for key in keys), name
    assert sum(map(bool, scored.values())) >= 205
