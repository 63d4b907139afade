"""What the fuzzer was given and what it kept, run again: every law of tests/fuzz/targets.py, without the fuzzer."""

import pytest

from tests.fuzz.seeds import kept, seeds
from tests.fuzz.targets import TARGETS

MAX_KEPT = 60  # files of one target
MAX_KEPT_SIZE = 1024  # octets of each


@pytest.mark.parametrize("target", TARGETS)
def test_every_input_that_was_kept_holds_the_laws(target: str) -> None:
    """Inputs that reach far into the code, and those that broke it once."""
    for path in kept(target):
        TARGETS[target](path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_what_the_stories_say_holds_the_laws(target: str) -> None:
    """The seeds."""
    inputs = seeds(target)
    assert inputs
    for octets in inputs:
        TARGETS[target](octets)


def test_the_corpus_is_small() -> None:
    """It is read by people, and replayed by every `make quick`."""
    for target in TARGETS:
        assert len(kept(target)) <= MAX_KEPT
        assert all(path.stat().st_size <= MAX_KEPT_SIZE for path in kept(target))
