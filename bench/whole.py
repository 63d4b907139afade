"""What only a whole site has: mail end to end, the time of one post, memory, start time, and callouts with many lists.

Each figure is taken several times; report.py shows median, least and most.
"""

import subprocess
import sys
import time
from collections.abc import Callable

from msgspec import Struct

from bench.load import Load, LoadFailed, Mail, Tally, deliver, make_messages
from bench.measure import pss_mib
from bench.rows import ROWS, Cell, measure_load
from bench.site import MEMBERS, Postroom, Sink
from bench.targets import REPOSITORY, list_address

ARRIVE_S = 120.0  # for the last copy of a burst
POLL_S = 0.001
IDLE_S = 3.0  # quiet before memory is read: start-up garbage has been given back
MANY_LISTS = 1000
SESSIONS = 10


class Posts(Struct, frozen=True):
    """A burst of posts to one list, from the first octet to the last copy at the sink."""

    posts_s: float
    recipients_s: float


def measure_posts(site: Postroom, sink: Sink, address: str, posts: int, run: str) -> Posts:
    """Hand in `posts` at once over some sessions and wait until the sink has every copy. Raises LoadFailed."""
    mail = Mail(4096, [address], run=run)
    messages, tally = make_messages(mail, posts), Tally()
    scripts = iter([deliver(mail, messages, tally) for _ in range(SESSIONS)])
    wanted = sink.counter.read().recipients + posts * MEMBERS[address]
    start = time.monotonic()
    with Load(site.address, SESSIONS, tally, lambda: next(scripts, None)) as load:
        while len(tally.latencies) < posts:
            load.turn(0.1)
            if time.monotonic() > start + ARRIVE_S:
                raise LoadFailed(f"{len(tally.latencies)} of {posts} posts were taken in {ARRIVE_S:g} s")
    elapsed = wait_for_copies(sink, wanted) - start
    site.settle()
    return Posts(posts / elapsed, posts * MEMBERS[address] / elapsed)


def wait_for_copies(sink: Sink, wanted: int) -> float:
    """Return when the sink had so many recipients, monotonic seconds. Raises LoadFailed, also for one copy too many."""
    deadline = time.monotonic() + ARRIVE_S
    while (counts := sink.counter.read()).recipients < wanted:
        if time.monotonic() > deadline:
            raise LoadFailed(f"{wanted - counts.recipients} copies are missing after {ARRIVE_S:g} s")
        time.sleep(POLL_S)
    if counts.recipients > wanted:
        raise LoadFailed(f"{counts.recipients - wanted} copies too many")
    return counts.last


def measure_idle_post(site: Postroom, sink: Sink, address: str, run: str) -> float:
    """Return the seconds from a post's final dot to its last copy at the sink, everything else being quiet."""
    mail = Mail(4096, [address], run=run)
    tally = Tally()
    scripts = iter([deliver(mail, make_messages(mail, 1), tally)])
    wanted = sink.counter.read().recipients + MEMBERS[address]
    with Load(site.address, 1, tally, lambda: next(scripts, None)) as load:
        load.turn(ARRIVE_S)  # ends with the session
    return wait_for_copies(sink, wanted) - tally.begun


def measure_memory(site: Postroom) -> float:
    """Return the PSS of all processes of an idle site, MiB."""
    site.wait_until_ready()
    time.sleep(IDLE_S)  # idle is what is measured
    return pss_mib(site.pids_of())


def measure_start(site: Postroom) -> tuple[float, float]:
    """Return the seconds from `bin/master start` to the banner, and those of Python with the front-end's imports alone."""
    site.stop_for_now()
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import lmtp.main"], cwd=REPOSITORY, check=True)
    imported = time.monotonic()
    site.start_again()
    return time.monotonic() - imported, imported - start


def measure_callouts(site: Postroom, lists: int, window_s: float) -> Cell:
    """Ask for each of a site's lists in turn; CPU is the front-ends' alone."""
    row = next(row for row in ROWS if row.callouts)
    mail = Mail(0, [list_address(number) for number in range(lists)])
    return measure_load(site, row, mail, site.pids_of("lmtp"), window_s)


def measure_pairs(
    few: Postroom,
    many: Postroom,
    lists: tuple[int, int],
    pairs: int,
    window_s: float,
    say: Callable[[str], None],
) -> list[tuple[Cell, Cell]]:
    """Take callouts on both sites in turns, the second first in each other pair."""
    found = []
    for number in range(pairs):
        if number % 2:
            second = measure_callouts(many, lists[1], window_s)
            first = measure_callouts(few, lists[0], window_s)
        else:
            first = measure_callouts(few, lists[0], window_s)
            second = measure_callouts(many, lists[1], window_s)
        found.append((first, second))
        say(
            f"callouts with {lists[0]} and {lists[1]} lists: {first.cpu_ms:.4f} and {second.cpu_ms:.4f} ms CPU of lmtp"
        )
    return found
