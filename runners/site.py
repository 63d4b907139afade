"""The site that a handler works for: settings, clock, log, the lists as they are now, and effects on the list store.

The store is synchronous and may wait for a lock, so every call runs in a thread; only whether the snapshot in memory is the newest is asked at once,
where that waits for nobody. What it needs is imported when it is first asked for: outgoing never asks, and does without. Raises StoreAway when the
store is away, which the loop makes a Retry without blame.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec
import structlog
from msgspec import Struct

from bus.client import ask
from config.clock import Clock
from config.names import Instance, ItemId, ListId
from config.settings import Settings
from lists.records import Origin
from runners.outcome import Ack, Outcome

if TYPE_CHECKING:
    from lists import changes
    from lists.address import Suffixes
    from lists.audience import Audience
    from lists.changes import Change
    from lists.directory import Directory
    from lists.model import HeldPost, MailingList, Role
    from lists.posts import Post
    from lists.records import Due, DueKind
    from lists.roster import Roster
    from lists.rules import Verdict
    from lists.store import Store
    from runners.effects import Effects
    from runners.together import Together

T = TypeVar("T")

OUTCOME_KEPT = timedelta(hours=48)  # far longer than any item lives without a person looking at it (P4)
TOKEN_KEPT = timedelta(days=30)  # after its end: a late answer is told that it is late, not that it is wrong
EVIDENCE_KEPT = timedelta(days=365)  # "why am I off this list?" is asked late; 200 octets a bounce
BUDGET_KEPT = timedelta(days=2)  # its window is a day (gate.DAY_MS)
LOCK_TIMEOUT_S = 30.0  # how long a runner waits for a writer; a front-end waits 2 s

_encode_ack = msgspec.msgpack.Encoder().encode
_decode_ack = msgspec.msgpack.Decoder(Ack).decode


class Decision(Struct, frozen=True):
    """What a handler decided inside the store's transaction: changes, the outcome that belongs to them, and where they come from.

    The changes and the outcome of an Ack are stored together; Retry and Shunt store nothing, and the item is decided anew.
    """

    outcome: Outcome
    changes: tuple["Change", ...] = ()
    origin: Origin = Origin()  # who and why, for the history; the item is filled in


class Current(Struct, frozen=True):
    """One list as the store has it now."""

    mailing_list: "MailingList"
    bounces: str  # LIST-bounces@
    directory: "Directory"

    @property
    def suffixes(self) -> "Suffixes":
        """Return the site's address table, for list_address."""
        return self.directory.suffixes

    def judge(self, post: "Post") -> "Verdict":
        """Say what becomes of a post to this list."""
        from lists.rules import Discard

        return self.directory.judge_post(self.mailing_list.list_id, post) or Discard("list-removed")


class Lists:
    """The lists, from a snapshot in memory that is compared with the store at each question."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._directory: Directory | None = None
        self._is_fresh = False  # compared in this turn of the loop; the handlers of a run all ask in one
        self._thread = ThreadPoolExecutor(1, "lists")  # the directory belongs to one thread

    async def current(self, list_id: ListId) -> Current | None:
        """Return a list as it is now, None when there is no such list (any more)."""
        return _current(await self.refresh(), list_id)

    def known(self, list_id: ListId) -> "tuple[Current, Audience] | None":
        """Return a list and who gets its posts where memory has both and they are the newest, None where `current` must be asked."""
        directory = self._fresh()
        current = None if directory is None else _current(directory, list_id)
        audience = None if current is None else current.directory.known_audience(list_id)
        return None if current is None or audience is None else (current, audience)

    async def audience(self, list_id: ListId) -> "Audience":
        """Return who gets a list's posts, as of the last `current`; only incoming asks: in a large list that moved it takes 0.2 s."""
        directory = await self.refresh() if self._directory is None else self._directory
        known = directory.known_audience(list_id)
        return await self._run(lambda: directory.audience(list_id)) if known is None else known

    async def refresh(self) -> "Directory":
        """Return the directory, brought up to date; its judge methods answer from memory."""
        directory = self._fresh()  # two hops between threads cost ten times the question
        return await self._run(self._refreshed) if directory is None else directory

    async def bounces_address(self, list_id: ListId) -> str:
        """Return LIST-bounces@, where mail that a list sends comes back; "" (the null reverse-path) for no list."""
        from lists.address import list_address

        directory = self._directory
        found = directory.mailing_list(list_id) if directory is not None else None
        if found is None and list_id:
            directory = await self.refresh()
            found = directory.mailing_list(list_id)
        if found is None or directory is None:
            return ""
        return list_address(found, "bounce", suffixes=directory.suffixes)

    def close(self) -> None:
        """Let go of the store."""
        if self._directory is not None:
            self._thread.submit(self._directory.close).result()
        self._thread.shutdown(wait=False)

    def _fresh(self) -> "Directory | None":
        """Return the directory where it is the newest, None where nobody can say without waiting."""
        directory = self._directory
        if directory is None or not (self._is_fresh or directory.glance()):
            return None
        if not self._is_fresh:
            self._is_fresh = True
            asyncio.get_running_loop().call_soon(self._let_age)
        return directory

    def _let_age(self) -> None:
        self._is_fresh = False

    def _refreshed(self) -> "Directory":
        """Load or refresh; in the thread."""
        if self._directory is not None:
            self._directory.refresh()
            return self._directory
        from lists.directory import Directory

        directory = Directory(self._settings, LOCK_TIMEOUT_S)
        try:
            directory.load()
        except BaseException:
            directory.close()
            raise
        self._directory = directory
        return directory

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _current(directory: "Directory", list_id: ListId) -> Current | None:
    from lists.address import list_address

    mailing_list = directory.mailing_list(list_id)
    if mailing_list is None:
        return None
    return Current(mailing_list, list_address(mailing_list, "bounce", suffixes=directory.suffixes), directory)


class SiteStore:
    """The list store as a handler may use it."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: Store | None = None
        self._effects: Effects | None = None
        self._together: dict[ItemId, Together] = {}  # by each item of a run

    async def apply_once(self, item_id: ItemId, decide: "Callable[[Roster], Decision]") -> Outcome:
        """Do this item's effect on the store exactly once, in one transaction, and return its outcome.

        `decide` is pure and works on what the transaction reads. The same item again changes nothing and gets the stored Ack. One call per item.
        Effects of different items that come at the same time share a transaction, so `decide` may be called twice (effects.py).
        """
        outcomes: list[Outcome] = []

        def encoded(roster: "Roster") -> "changes.Decision":
            from lists import changes

            decision = decide(roster)
            outcomes[:] = [decision.outcome]
            if not isinstance(decision.outcome, Ack):
                return changes.Decision(keep=False)
            return changes.Decision(decision.changes, _encode_ack(decision.outcome), origin=decision.origin)

        stored = await (self._together.get(item_id) or self._shared()).apply(item_id, encoded)
        return _decode_ack(stored) if stored else outcomes[0]

    @contextmanager
    def together(self, item_ids: Sequence[ItemId]) -> "Iterator[Together]":
        """Let the effects of these items be one transaction, in this order, or none (together.py)."""
        from runners.together import Together

        together = Together(self._shared(), item_ids)
        self._together.update(dict.fromkeys(item_ids, together))
        try:
            yield together
        finally:
            for item_id in item_ids:
                del self._together[item_id]

    def _shared(self) -> "Effects":
        if self._effects is None:
            from runners.effects import Effects

            self._effects = Effects(self._opened)
        return self._effects

    async def outcome(self, item_id: ItemId) -> Ack | None:
        """Return what this item's effect on the store was stored with, None when it has had none yet.

        For a handler whose effect depends on what may have changed since: a second run must not decide otherwise than the first.
        """
        stored = await asyncio.to_thread(lambda: self._opened().outcome(item_id))
        return None if stored is None else _decode_ack(stored)

    async def trim(self, now: datetime) -> int:
        """Forget what nobody asks for any more; returns how many rows.

        Outcomes older than OUTCOME_KEPT whose items the bus has in no state any more (P4), then tokens, evidence and budgets. Does nothing
        in a process that has not used the store. Raises Away when the bus does not answer, StoreAway as all here.
        """
        store = self._store
        if store is None:
            return 0

        def still_held(ids: "Sequence[ItemId]") -> list[ItemId]:
            held: list[ItemId] = ask(self._settings, "holds", ids=list(ids))
            return held

        def forget() -> int:
            records = store.records
            return (
                store.trim_applied(now - OUTCOME_KEPT, still_held)
                + records.trim_tokens(now - TOKEN_KEPT)
                + records.trim_evidence(now - EVIDENCE_KEPT)
                + records.trim_budgets(now - BUDGET_KEPT)
            )

        return await asyncio.to_thread(forget)

    async def held_post(self, number: int) -> "tuple[HeldPost, bytes]":
        """Return a held post and its octets; raises NoSuchHeld."""
        return await asyncio.to_thread(lambda: self._opened().held_post(number))

    async def due(self, kind: "DueKind", now: datetime) -> "list[Due]":
        """Return all that is due by now of one kind, the oldest first."""
        return await asyncio.to_thread(self._all_due, kind, now)

    def _all_due(self, kind: "DueKind", now: datetime) -> "list[Due]":
        records = self._opened().records
        found = list(page := records.due(kind, now))
        while page:
            found += (page := records.due(kind, now, page[-1].place))
        return found

    async def addresses_of(self, list_id: ListId, roles: "Sequence[Role]") -> tuple[str, ...]:
        """Return the addresses in these roles of a list, sorted; raises NoSuchList."""
        return await asyncio.to_thread(lambda: self._opened().addresses_of(list_id, roles))

    def close(self) -> None:
        """Let go of the store."""
        if self._store is not None:
            self._store.close()

    def _opened(self) -> "Store":
        """Open the store at its first use; in a thread, perhaps in two at once, which is harmless."""
        if self._store is None:
            from lists.store import Store

            store = Store(self._settings, LOCK_TIMEOUT_S)
            store.open()
            self._store = store
        return self._store


class Site:
    """What a handler sees of the world."""

    def __init__(self, settings: Settings, instance: Instance) -> None:
        self.settings = settings
        self.instance = instance
        self.clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
        # Bound here, or every line pays for it; so a site is made after the log is set up.
        self.log: structlog.typing.FilteringBoundLogger = structlog.get_logger().bind()
        self.lists = Lists(settings)
        self.store = SiteStore(settings)

    def close(self) -> None:
        """Let go of everything; in no hurry of a handler."""
        self.lists.close()
        self.store.close()
