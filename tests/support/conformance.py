"""The site that the stories of tests/conformance are told of, in real processes: a bus, a front-end, the lists, and a shelf that empties the queues.

docs/conformance.md names the lists and who is on them. A story with settings of its own gets a site of its own; stories with the same ones share it.
The shelf is a runner for every queue: what the bus hands it is what was taken for good, with its octets.
"""

import asyncio
import contextlib
import shlex
import ssl
import subprocess
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from bus.client import Worker
from config.names import BOUNCES, CONFIRM, INCOMING, MEMBERSHIP, OWNER, REQUEST, Instance, Queue
from config.settings import Settings
from tests.support.authority import Authority
from tests.support.lmtp_process import Post, running_post
from tests.support.loop_thread import LoopThread
from tests.support.player import Rules
from tests.support.site import POSTROOM, write_toml
from tests.support.transcript import Secure, Stored, Story
from tests.support.waiting import wait_until
from tests.support.wire import Address, Wire

QUEUES: Final = (INCOMING, BOUNCES, CONFIRM, MEMBERSHIP, OWNER, REQUEST)
SLOTS: Final = 50
SETTLE_S: Final = (
    60.0  # one list is served one item at a time, each with its fsync: a thousand take some seconds
)
OPEN: Final = "generic_nonmember_action=accept"
LISTS: Final[Mapping[str, Sequence[str]]] = {
    "ant@example.org": [OPEN],
    "bee@example.org": [OPEN],
    "small@example.org": [OPEN, "max_message_size=300"],
    "closed@example.org": ["generic_nonmember_action=reject"],
}
FAILPOINTS: Final = {"": "", "storage": "front.publish.before=error"}
MEMBER: Final = ("closed@example.org", "member@example.net")


class QueueShelf:
    """Runners of every queue, in a thread, that keep what they are given and say that it is done."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._kept: list[Stored] = []
        self._workers: list[Worker] = []
        self._thread = LoopThread()

    def __enter__(self) -> "QueueShelf":
        self._thread.__enter__()
        loop = self._thread.loop
        self._running = [asyncio.run_coroutine_threadsafe(self._keep(queue), loop) for queue in QUEUES]
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            self._thread.call(worker.stop)
        for each in self._running:
            each.result(10)
        self._thread.__exit__()

    def take(self) -> Sequence[Stored]:
        """Wait until the queues are empty; return what was in them since the last time."""
        wait_until(self._is_all_here, SETTLE_S, what="every queue is empty")
        kept, self._kept = self._kept, []
        return kept

    def _is_all_here(self) -> bool:
        queues = self._post.bus.ask("status")["queues"]
        return not any(one["ready"] + one["leased"] + one["deferred"] for one in queues)

    async def _keep(self, queue: Queue) -> None:
        name = f"{queue}-1"
        async with Worker(self._post.settings, name, Instance(f"{name}:1"), queue, SLOTS, 60) as worker:
            self._workers.append(worker)
            async for lease in worker:
                item = lease.item
                self._kept.append(
                    Stored(item.recipient, item.reverse_path, lease.content, size=len(lease.content))
                )
                await lease.ack()


class ConformanceSite:
    """One site: where it listens, its shelf, and how a player plays to it."""

    def __init__(self, post: Post, shelf: QueueShelf, authority: Authority) -> None:
        self.shelf = shelf
        self.rules = Rules(context_of=authority_context(authority))
        self._post = post
        self._given: set[str] = set()

    def address(self, kind: str) -> Address:
        """Return the address of its "tcp" or "unix" socket."""
        return self._post.unix if kind == "unix" else self._post.tcp

    def give(self, commands: Sequence[str]) -> None:
        """Have bin/postroom done what a story asks for, once; returns when the front-end knows it."""
        new = [command for command in commands if command not in self._given]
        for command in new:
            self._given.add(command)
            arguments = [*shlex.split(command), "--config", str(write_configuration(self._post.settings))]
            done = subprocess.run(
                [POSTROOM, *arguments],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
            )
            assert done.returncode == 0, f"postroom {command}: {done.stderr}"
        if new:
            self._refresh()

    def _refresh(self) -> None:
        """Be refused: before it says so, the front-end asks the store and reads what has changed."""
        with Wire.connect(self._post.tcp) as wire:
            assert wire.codes("MAIL FROM:<>", "RCPT TO:<nolist@example.org>")[1] == "550 5.1.1"

    def errors(self) -> list[dict[str, Any]]:
        """Return what the front-end logged about errors of its own."""
        return self._post.lines("lmtp.failed")


@contextlib.contextmanager
def conformance_site(
    folder: Path, settings: Sequence[str] = (), fault: str = ""
) -> Iterator[ConformanceSite]:
    """Run the site, with these lines of [lmtp], and one of transcript.FAULTS."""
    authority = Authority(folder / "ca")
    files = {"certificate": authority.cert, "key": authority.key, "ca": authority.ca_file}
    lines = "\n".join(settings)
    for word, file in files.items():
        lines = lines.replace(f"{{{word}}}", str(file))
    with running_post(folder, **tomllib.loads(lines)) as post:
        for address, options in LISTS.items():
            post.store.create_list(address, options)
        post.store.add_members(MEMBER[0], [MEMBER[1]], "member")
        post.start_front(FAILPOINTS[fault])
        with QueueShelf(post) as shelf:
            yield ConformanceSite(post, shelf, authority)


def authority_context(authority: Authority) -> Callable[[Secure], ssl.SSLContext]:
    """Make what gives a player its side of a handshake: it trusts this CA, and shows what the story says."""

    def context_of(step: Secure) -> ssl.SSLContext:
        if not step.is_foreign:
            return authority.trust(step.certificate)
        context = authority.trust()
        context.load_cert_chain(Authority(authority.folder / "foreign").client(step.certificate))
        return context

    return context_of


@contextlib.contextmanager
def sites_by_settings(
    make_folder: Callable[[str], Path],
) -> Iterator[Callable[[Story], ConformanceSite]]:
    """Give each story its site; a site is started when the first story asks for it, and all end together."""
    running: dict[tuple[tuple[str, ...], str], ConformanceSite] = {}
    with contextlib.ExitStack() as stack:

        def site_of(story: Story) -> ConformanceSite:
            key = (story.settings, story.fault)
            if key not in running:
                folder = make_folder(f"site{len(running)}")
                running[key] = stack.enter_context(conformance_site(folder, *key))
            running[key].give(story.given)
            return running[key]

        yield site_of


def write_configuration(settings: Settings) -> Path:
    """Write settings as a configuration file for bin/postroom; returns its path."""
    file = Path(settings.site.var) / "postroom.toml"
    file.write_text(write_toml(_without_none(msgspec.to_builtins(settings))), "utf-8")
    return file


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in tree.items()
        if value is not None
    }
