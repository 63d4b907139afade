"""The bounces that others have collected: whom we find in them, and why it failed."""

from email import message_from_bytes

import pytest
from flufl.bounce import all_failures

from lists.bounces.failure import Report
from lists.bounces.reading import read_report
from tests.support.corpora import SIZES, read_samples
from tests.unit.bounces.labels import AUTOMATIC, DELAYED, EVERY_FOURTH, LABELS, NOBODY, NOT_FAILED, RETURNED

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def samples() -> dict[str, bytes]:
    return {name: octets for corpus in SIZES for name, octets in read_samples(corpus).items()}


@pytest.fixture(scope="module")
def reports(samples: dict[str, bytes]) -> dict[str, Report]:
    return {name: read_report(octets) for name, octets in samples.items()}


def failed(report: Report) -> set[str]:
    """Return the addresses that failed for good, in small letters."""
    return {
        address.lower()
        for failure in report.failures
        if failure.is_permanent
        for address in failure.addresses
    }


def found_by_flufl(octets: bytes) -> set[str]:
    permanent = all_failures(message_from_bytes(octets))[1]
    return {address.decode("utf-8", "replace").lower() for address in permanent}


def test_the_labelled_samples_are_every_fourth(samples: dict[str, bytes]) -> None:
    assert list(EVERY_FOURTH) == sorted(samples)[::4]
    assert len(EVERY_FOURTH) >= 60


@pytest.mark.parametrize("name", LABELS)
def test_the_class_is_what_a_person_reads(reports: dict[str, Report], name: str) -> None:
    report = reports[name]
    said = {
        failure.bounce_class if failure.is_permanent else DELAYED
        for failure in report.failures
        if failure.addresses
    }
    assert said == ({LABELS[name]} if LABELS[name] != NOBODY else set()), report


def test_nothing_is_unreadable(reports: dict[str, Report]) -> None:
    assert [name for name, report in reports.items() if report.kind == "unreadable"] == []


def test_replies_challenges_and_warnings_fail_nobody(reports: dict[str, Report]) -> None:
    assert len(AUTOMATIC) >= 20
    assert {name: failed(reports[name]) for name in AUTOMATIC if failed(reports[name])} == {}


def test_no_address_is_missed_that_flufl_bounce_finds(
    samples: dict[str, bytes], reports: dict[str, Report]
) -> None:
    """And those that only we find are more."""
    theirs = {name: found_by_flufl(octets) for name, octets in samples.items()}
    missed = {name for name, addresses in theirs.items() if addresses - failed(reports[name])}
    assert missed == set(NOT_FAILED)
    ours = sum(bool(failed(report)) for report in reports.values())
    assert ours >= sum(map(bool, theirs.values()))


def test_what_came_back_and_names_nobody_is_told_from_replies(samples: dict[str, bytes]) -> None:
    """With the null reverse-path, which some vacation programs use too: then a signed token alone would say whose it is."""
    kinds = {name: read_report(octets, "").kind for name, octets in samples.items()}
    assert {name for name in AUTOMATIC if kinds[name] in ("returned", "unreadable")} == set()
    assert {name for name, kind in kinds.items() if kind == "returned"} == RETURNED
