"""What only a whole list server has: mail end to end, the time of one post, bounces, joins, memory, start; and, of Postroom alone, callouts with many lists.

Postroom and Mailman are put through the same, in turns: started, measured, ended, then the other. Each gets as much work as keeps it busy for some seconds, which
is why their counts differ; a rate does not depend on it. What one of them cannot do stays empty in that round.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from bench.letters import write_answer, write_bounce, write_join
from bench.load import Letter, LoadFailed, Mail, hand_in_all, make_messages
from bench.measure import cpu_s, pss_mib, spread
from bench.rows import ROWS, Cell, measure_load
from bench.sink import ANSWERING
from bench.site import Postroom, Sink
from bench.suite import JOINED, MEMBERS, TEN, THOUSAND, Suite
from bench.targets import REPOSITORY, TargetFailed, list_address

ARRIVE_S = 120.0  # for the last of a burst
POLL_S = 0.001
LOOK_S = 0.02  # between looks into a store, so that looking does not hold up its writers
IDLE_S = 3.0  # quiet before memory is read: start-up garbage has been given back
MANY_LISTS = 1000
SESSIONS = 10


class Work(Struct, frozen=True):
    """How much one suite is given in a round."""

    idle: int  # posts, one after the other
    ten: int  # posts to the list of 10
    thousand: int  # posts to the list of 1,000
    bounces: int
    joins: int


class Posts(Struct, frozen=True):
    """A burst of posts to one list, from the first octet to the last copy at the sink."""

    posts_s: float
    recipients_s: float


class Done(Struct, frozen=True):
    """Bounces or joins: how many a second, and what one cost all processes together."""

    rate: float
    cpu_ms: float


class Round(Struct):
    """What one suite did in one round; None: not measured."""

    start_s: float | None = None  # from the command to the banner
    memory_mib: float | None = None  # PSS of all processes, idle
    idle_s: float | None = None  # a post's final dot to its last copy, median
    ten: Posts | None = None
    thousand: Posts | None = None
    bounces: Done | None = None
    joins: Done | None = None
    imports_s: float | None = None  # Python with the front-end's imports, at about the same time


def measure_suite(suite: Suite, sink: Sink, work: Work, run: str, say: Callable[[str], None]) -> Round:
    """Put one suite through everything, started before and ended after; `say` is told of what
    fails; what would come after it stays empty, for queues that are not empty would be measured too."""
    found, doing = Round(), "start"
    try:
        found.start_s = suite.begin()
        suite.wait_until_ready()
        for name, step in _STEPS.items():
            begun, doing = time.monotonic(), name
            setattr(found, name, step(suite, sink, work, f"{name}-{run}"))
            suite.settle()
            say(f"{run}  {name:10} {suite.name}  {time.monotonic() - begun:5.1f} s")
    except (LoadFailed, TargetFailed, OSError) as error:
        say(f"{suite.name} failed in {run}, {doing}: {error}")
    finally:
        suite.stop()
    return found


def measure_posts(suite: Suite, sink: Sink, address: str, posts: int, run: str) -> Posts:
    """Hand in `posts` at once over some sessions and wait until the sink has every copy. Raises LoadFailed."""
    letters = _posts(address, posts, run)
    wanted = sink.counter.read().recipients + posts * MEMBERS[address]
    start = time.monotonic()
    hand_in_all(suite.address, letters, SESSIONS, ARRIVE_S)
    elapsed = wait_for_copies(sink, wanted) - start
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


def measure_idle(suite: Suite, sink: Sink, posts: int, run: str) -> float:
    """Return the seconds from a post's final dot to its last copy at the sink, everything else being quiet; the median of some posts."""
    return spread([_measure_idle_post(suite, sink, f"{run}-{number}") for number in range(posts)]).median


def _measure_idle_post(suite: Suite, sink: Sink, run: str) -> float:
    wanted = sink.counter.read().recipients + MEMBERS[TEN]
    tally = hand_in_all(suite.address, _posts(TEN, 1, run), 1, ARRIVE_S)
    found = wait_for_copies(sink, wanted) - tally.begun
    suite.settle()
    return found


def _posts(address: str, count: int, run: str) -> list[Letter]:
    mail = Mail(4096, [address], run=run)
    return [Letter(mail.sender, address, message) for message in make_messages(mail, count)]


def measure_bounces(suite: Suite, count: int, run: str) -> Done:
    """Hand in reports about so many different members; from the first command until the last of them has a score. Raises LoadFailed."""
    letters = [
        write_bounce(recipient, member, THOUSAND, f"{number}.{run}")
        for number, (recipient, member) in enumerate(suite.bounce_recipients(count))
    ]
    wanted = suite.scored() + count
    pids = suite.everybody()
    cpu, start = cpu_s(pids), time.monotonic()
    hand_in_all(suite.address, letters, SESSIONS, ARRIVE_S)
    _wait_for(suite.scored, wanted)
    elapsed, cpu = time.monotonic() - start, cpu_s(pids) - cpu
    return Done(count / elapsed, 1000 * cpu / count)


def measure_joins(suite: Suite, sink: Sink, count: int, run: str) -> Done:
    """Let so many people ask to join, each answer the mail that comes, until all are members. Raises LoadFailed."""
    asked = [write_join(f"p{number}.{run}@{ANSWERING}", JOINED, f"{number}.{run}") for number in range(count)]
    sink.questions.new()  # what came before is nobody's
    wanted = suite.joined() + count
    pids = suite.everybody()
    cpu, start = cpu_s(pids), time.monotonic()
    hand_in_all(suite.address, asked, SESSIONS, ARRIVE_S)
    _answer(suite, sink, count, run)
    _wait_for(suite.joined, wanted)
    elapsed, cpu = time.monotonic() - start, cpu_s(pids) - cpu
    return Done(count / elapsed, 1000 * cpu / count)


def _answer(suite: Suite, sink: Sink, count: int, run: str) -> None:
    """Answer the first mail that each of `count` people gets, as soon as it is there; a later one greets."""
    answered: set[str] = set()
    deadline = time.monotonic() + ARRIVE_S
    while len(answered) < count:
        new = {each.to: each for each in sink.questions.new() if each.to not in answered}
        if new:
            letters = [write_answer(each, f"answer.{each.to}.{run}") for each in new.values()]
            hand_in_all(suite.address, letters, SESSIONS, ARRIVE_S)
            answered.update(new)
        elif time.monotonic() > deadline:
            raise LoadFailed(f"{count - len(answered)} of {count} were never asked in {ARRIVE_S:g} s")
        else:
            time.sleep(LOOK_S)


def _wait_for(count: Callable[[], int], wanted: int) -> None:
    deadline = time.monotonic() + ARRIVE_S
    while (found := count()) < wanted:
        if time.monotonic() > deadline:
            raise LoadFailed(f"{wanted - found} are missing after {ARRIVE_S:g} s")
        time.sleep(LOOK_S)


def measure_memory(suite: Suite) -> float:
    """Return the PSS of all processes of an idle suite, MiB."""
    time.sleep(IDLE_S)  # idle is what is measured
    return pss_mib(suite.everybody())


def measure_imports() -> float:
    """Return the seconds of Python with the front-end's imports alone."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", "import lmtp.main"], cwd=REPOSITORY, check=True)
    return time.monotonic() - start


Step = Callable[[Suite, Sink, Work, str], float | Posts | Done]
# In this order: what leaves memory or members behind comes after what would see it.
_STEPS: Final[dict[str, Step]] = {
    "memory_mib": lambda suite, sink, work, run: measure_memory(suite),
    "idle_s": lambda suite, sink, work, run: measure_idle(suite, sink, work.idle, run),
    "ten": lambda suite, sink, work, run: measure_posts(suite, sink, TEN, work.ten, run),
    "thousand": lambda suite, sink, work, run: measure_posts(suite, sink, THOUSAND, work.thousand, run),
    "bounces": lambda suite, sink, work, run: measure_bounces(suite, work.bounces, run),
    "joins": lambda suite, sink, work, run: measure_joins(suite, sink, work.joins, run),
}


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
