"""What an administrator does beside the mail stops neither the mail nor itself."""

import contextlib
import itertools
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import load
from lists.store import Store
from tests.support.load import TAKEN, Senders
from tests.support.sink import Sink
from tests.support.site import POSTROOM, Site
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.crash, pytest.mark.slow]

MANY = 100_000
LONGEST_S = 5.0  # that one mail may take to be answered, or the sink be without mail


@pytest.fixture
def sink() -> Iterator[Sink]:
    """Where mail ends."""
    with Sink() as started:
        yield started


@pytest.fixture
def site(tmp_path: Path, sink: Sink) -> Iterator[Site]:
    """A site with a list that mail flows to, a large one, and an empty one."""
    made = Site(tmp_path / "site", f'[outgoing]\nsmtp = "{sink.address}"\n')
    with Store(load.load(made.config)) as store:
        for name in ("flow", "large", "empty"):
            store.create_list(f"{name}@example.org", ["generic_nonmember_action=accept"])
        store.add_members("flow@example.org", [f"m{number}@example.net" for number in range(3)])
        store.add_members("large@example.org", [f"m{number}@example.net" for number in range(MANY)])
    with made:
        yield made


@pytest.mark.timeout(240)
def test_a_paused_listing_and_a_large_import_stop_no_mail(site: Site, sink: Sink, tmp_path: Path) -> None:
    """A pager left open over `members ls` keeps no lock; an import of 100,000 lets others write in between."""
    file = tmp_path / "members.txt"
    file.write_text("".join(f"new{number}@example.net\n" for number in range(MANY)))
    flow = Senders(f"127.0.0.1:{site.port}", ["flow@example.org"], threads=2, pause_s=0.05)
    with flow as senders, paused_listing(site) as listing:
        begun = time.monotonic()
        done = site.postroom("members", "add", "empty@example.org", "--file", str(file))
        ended = time.monotonic()
        assert done.returncode == 0, done.stderr
        assert listing.poll() is None, "the listing has ended; it should hang at its pipe"
    attempts = senders.history.attempts()
    wait_until(lambda: len(sink.recipients()) >= 3 * len(attempts), 30, what="every copy at the sink")
    assert {one.outcome for one in attempts} == {TAKEN}, [one for one in attempts if one.outcome != TAKEN]
    assert max(one.ended_s - one.began_s for one in attempts) < LONGEST_S
    arrivals = [begun, *sorted(one.at_s for one in sink.transactions if begun < one.at_s < ended), ended]
    assert len(arrivals) > 10
    assert max(later - earlier for earlier, later in itertools.pairwise(arrivals)) < LONGEST_S
    assert sorted(sink.recipients()) == sorted(sink_wants(len(attempts)))
    assert members_of(site, "empty@example.org") == MANY


@contextlib.contextmanager
def paused_listing(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Run `members ls` of the large list into a pipe that nobody reads."""
    command = (str(POSTROOM), "members", "ls", "large@example.org", "--config", str(site.config))
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.read(1), "it prints nothing"  # from here on the rest must fit into the pipe
            yield process
        finally:
            process.kill()


def sink_wants(posts: int) -> list[str]:
    """Return the recipients of so many posts to the list that mail flows to."""
    return [f"m{number}@example.net" for number in range(3)] * posts


def members_of(site: Site, address: str) -> int:
    """Count a list's members."""
    with Store(load.load(site.config)) as store:
        return len(store.addresses_of(address, ["member"]))
