"""One runner process: `python -m runners.main --settings FILE --name incoming-1 --queue incoming`.

Finds the runner's class, built in or the site's own, and gives it to the loop. Bad configuration (a class that cannot be imported, or is
no Runner; a suffix that cannot be an address; a store of a newer version) exits 78 with a message that names the key, and master does not start it again; anything else uncaught exits 70.
"""

import asyncio
import importlib
import os
import signal
import sys
from collections.abc import Sequence

import structlog

from bus.client import Away, BusError, PublishRefused, Worker
from config import logs
from config.child import BEAT_S, Child, argument_parser, spare_a_cpu, start_child
from config.names import EX_CONFIG, Queue
from config.settings import Settings
from lists.errors import BadSecret, BadSuffix, StoreAway, StoreTooNew
from runners.loop import Loop
from runners.runner import Runner
from runners.site import Site

EX_SOFTWARE = 70  # sysexits.h
TRIM_S = 3600.0  # between two looks for what can be forgotten

BUILT_IN = {
    "incoming": "runners.incoming:Incoming",
    "bounces": "runners.bounces:Bounces",
    "confirm": "runners.confirm:Confirm",
    "membership": "runners.membership:Membership",
    "outgoing": "runners.outgoing:Outgoing",
    "owner": "runners.owner:Owner",
    "request": "runners.request:Request",
}

# Imported late, or never, by one of these processes; whoever forks them has them early, and of one version (master/forker.py).
PRELOAD = [*(name.partition(":")[0] for name in BUILT_IN.values()), "runners.effects", "runners.together"]

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class BadClass(Exception):
    """`[runners.QUEUE] class` names nothing that can run; str() is the message for a person."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one runner process until SIGTERM or until master is gone; returns its exit status."""
    parser = argument_parser("One Postroom runner process; master starts it.")
    parser.add_argument("--queue", required=True)
    child = start_child(parser, argv)
    queue = Queue(child.extra.queue)
    if child.settings.runner(queue).spare_cpu:
        spare_a_cpu()
    logs.set_up(child.settings, child.name)
    try:
        make_runner = find_class(child.settings, queue)
        log.info("process.started", pid=os.getpid(), instance=child.instance, queue=queue)
        asyncio.run(serve(child, queue, make_runner))
    except (BadClass, BadSecret, BadSuffix, StoreTooNew) as error:
        log.error("process.failed", error=str(error))
        print(f"{child.name}: {error}", file=sys.stderr, flush=True)
        return EX_CONFIG
    except Exception as error:  # in main (STYLE, Errors)
        logs.log_uncaught(log, error)
        return EX_SOFTWARE
    log.info("process.stopped")
    return 0


def find_class(settings: Settings, queue: Queue) -> type[Runner]:
    """Import the class of this queue's runner; raises BadClass."""
    name = settings.runner(queue).class_ or BUILT_IN.get(queue, "")
    key = f'[runners.{queue}] class = "{name}"'
    if not name:
        raise BadClass(f"[runners.{queue}] class is missing: no runner is built in for this queue")
    module_name, colon, class_name = name.partition(":")
    if not colon or not module_name or not class_name:
        raise BadClass(f'{key}: write "module:Class"')
    for folder in settings.site.python_path:
        if folder not in sys.path:
            sys.path.append(folder)  # behind ours: a module "config" of the site must not replace our own
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except AttributeError as error:
        raise BadClass(f"{key}: the module has no {class_name}") from error
    except Exception as error:  # whatever a site's module raises while it is imported is the site's to mend
        raise BadClass(f"{key}: cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Runner)):
        raise BadClass(f"{key}: is no subclass of runners.Runner")
    return found


async def serve(child: Child, queue: Queue, make_runner: type[Runner]) -> None:
    """Do the work of one runner process. A crash in any task ends it; master starts another."""
    stopping = _watch_for_stop(child)
    site = Site(child.settings, child.instance)
    runner = make_runner(site)
    slots = child.settings.runner(queue).slots or make_runner.slots
    await runner.open()
    max_runtime_s = runner.max_runtime_s(queue)
    worker = Worker(child.settings, child.name, child.instance, queue, slots, max_runtime_s, make_runner.run)
    loop = Loop(worker, runner, site, queue)
    async with worker, asyncio.TaskGroup() as tasks:
        beat = tasks.create_task(_beat(child), name="beat")
        trim = tasks.create_task(_trim(site), name="trim")
        tick = tasks.create_task(_tick(runner), name="tick")
        log.info("process.ready", slots=slots)
        child.ready()
        with logs.in_turns():
            await loop.run(stopping)
        beat.cancel()
        trim.cancel()
        tick.cancel()
    if loop.is_abandoned:  # a thread may still wait for something, and Python would wait for the thread
        log.info("process.stopped", abandoned=True)
        os._exit(0)
    await runner.close()
    site.close()


def _watch_for_stop(child: Child) -> asyncio.Event:
    """Return an event that SIGTERM, SIGINT and the end of master set."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    if child.life_fd >= 0:

        def end() -> None:
            loop.remove_reader(child.life_fd)
            stopping.set()

        loop.add_reader(child.life_fd, end)
    return stopping


async def _beat(child: Child) -> None:
    """Prove to master that this loop turns, also while handlers wait or work in threads."""
    while True:
        child.beat()
        await asyncio.sleep(BEAT_S)


async def _tick(runner: Runner) -> None:
    """Let a runner look for what is due, at once after its start; what is in the way now is not so the next time."""
    while runner.tick_s:
        try:
            await runner.tick()
        except (Away, BusError, PublishRefused, StoreAway) as error:
            log.warning("timer.delayed", error=str(error))
        await asyncio.sleep(runner.tick_s)


async def _trim(site: Site) -> None:
    """Every hour let the store forget what nobody asks for any more; what is in the way now is not so in an hour."""
    while True:
        await asyncio.sleep(TRIM_S)
        try:
            count = await site.store.trim(site.clock.now())
        except (Away, BusError, StoreAway) as error:
            log.warning("store.untrimmed", error=str(error))
        else:
            if count:
                log.info("store.trimmed", count=count)


if __name__ == "__main__":
    sys.exit(main())
