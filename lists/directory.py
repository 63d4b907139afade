"""The snapshot that RCPT is answered from: every list, who may post to it, and who gets its posts, in memory.

It trusts what the store says and asks it rarely: `refresh` reads one row and reloads only the lists that moved; `is_current` is one
prepared statement, asked before any 5xx. load, refresh and is_current block and belong to one worker thread; judge and its like only
read the snapshot, which is swapped in by one assignment, and belong to the loop. Sizes: 100,000 members take about 12 MB.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, select

from config.names import ListId
from config.settings import Settings
from lists import policy
from lists.address import Destination, Names, Suffixes
from lists.model import ListSettings, MailingList
from lists.patterns import NO_PATTERNS, Patterns
from lists.policy import ListPolicy, Post, Refused, Taken, Verdict, View
from lists.store import Store
from lists.store.bans import read_bans
from lists.store.engine import reading
from lists.store.lists import read_settings
from lists.store.members import Rolls, other_addresses, recipients_page, rolls_page
from lists.store.probe import VersionProbe
from lists.store.schema import mailing_list

FRONT_TIMEOUT_S = 2.0  # what the front-end waits for a lock; then 451


class _Mark(Struct, frozen=True):
    """Which state of a list is in the snapshot."""

    row: int
    version: int
    deliveries: int


class _Snapshot(Struct, frozen=True):
    """Everything at one version; newer in places, never older."""

    version: tuple[int, int]
    marks: Mapping[ListId, _Mark]
    view: View


class Directory:
    """Answers about lists from memory."""

    def __init__(self, settings: Settings, busy_timeout_s: float = FRONT_TIMEOUT_S) -> None:
        self._settings = settings
        self._suffixes = Suffixes.from_settings(settings)
        self._store = Store(settings, busy_timeout_s)
        self._probe = VersionProbe(self._store.engine)
        self._snapshot = _Snapshot((0, 0), {}, View(Names({}, frozenset()), self._suffixes, {}))
        self._recipients: dict[ListId, tuple[_Mark, tuple[str, ...]]] = {}

    def close(self) -> None:
        """Close every connection."""
        self._probe.close()
        self._store.close()

    # In a worker thread -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read everything, after the schema was made or migrated where needed; raises StoreAway, StoreTooNew."""
        self._store.open()
        self.refresh()

    def refresh(self) -> bool:
        """Bring the snapshot up to date; True: something had moved. Raises StoreAway, and the old snapshot stays."""
        old = self._snapshot
        version = self._probe.read()
        if version == old.version:
            return False
        self._snapshot = _reload(self._store, self._settings, self._suffixes, version, old)
        return True

    def is_current(self) -> bool:
        """Is what RCPT looks at as the store has it? Raises StoreAway."""
        return self._probe.read()[0] == self._snapshot.version[0]

    def recipients(self, list_id: ListId) -> tuple[str, ...]:
        """Return the addresses that get this list's posts, in order of key; () for a list that is not there.

        Blocks when the list has changed since it was last asked for (1,000 members: a few milliseconds); from memory else.
        """
        mark = self._snapshot.marks.get(list_id)
        if mark is None:
            return ()
        cached = self._recipients.get(list_id)
        if cached is None or cached[0] != mark:
            cached = mark, _read_recipients(self._store, mark.row)
            self._recipients[list_id] = cached
        return cached[1]

    # From memory ------------------------------------------------------------------------------------------------------

    def judge(self, reverse_path: str, recipient: str) -> Taken | Refused:
        """Answer RCPT; before a 5xx is said, `is_current` must say so."""
        return policy.judge_recipient(reverse_path, recipient, self._snapshot.view)

    def judge_data(
        self,
        destination: Destination,
        reverse_path: str,
        size: int,
        post: Post | None = None,
        *,
        is_report: bool = False,
    ) -> Taken | Refused:
        """Answer the final dot for one recipient; `post` None: the header was not read. See policy.judge_data."""
        view = self._snapshot.view
        return policy.judge_data(destination, reverse_path, size, view, post, is_report=is_report)

    def judge_post(self, list_id: ListId, post: Post) -> Verdict | None:
        """Say what becomes of a post; None: the list is not there any more."""
        found = self._snapshot.view.policies.get(list_id)
        return None if found is None else policy.judge_post(post, found)

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list and its settings."""
        found = self._snapshot.view.policies.get(list_id)
        return None if found is None else found.mailing_list

    def lists(self) -> tuple[MailingList, ...]:
        """Return every list."""
        return tuple(found.mailing_list for found in self._snapshot.view.policies.values())

    def is_ours(self, address: str) -> bool:
        """Would mail to this address come back to us? Owner mail must not go there."""
        answer = policy.judge_recipient("", address, self._snapshot.view)
        return isinstance(answer, Taken) or answer == policy.UNKNOWN_LIST

    @property
    def suffixes(self) -> Suffixes:
        """The address table of this site."""
        return self._suffixes


def _reload(
    store: Store, settings: Settings, suffixes: Suffixes, version: tuple[int, int], old: _Snapshot
) -> _Snapshot:
    """Read what moved since `old`.

    The version was read first, so what is read now is at least as new; what moves meanwhile has a higher number and comes next time.
    Each read ends before the next begins.
    """
    with reading(store.engine) as connection:
        marks, addresses = _read_marks(connection)
        moved = [list_id for list_id, mark in marks.items() if _has_moved(mark, old.marks.get(list_id))]
        wanted = [marks[list_id].row for list_id in moved]
        options = read_settings(connection, wanted if len(wanted) < 500 else None)
        bans = _read_bans(connection)
    site_bans = bans.get(ListId(""), NO_PATTERNS)
    policies = {list_id: found for list_id, found in old.view.policies.items() if list_id in marks}
    if site_bans != _site_bans(policies.values()):
        policies = {list_id: replace(found, site_bans=site_bans) for list_id, found in policies.items()}
    for list_id in moved:
        row = marks[list_id].row
        mailing = MailingList.at(addresses[list_id], options.get(row, ListSettings()), list_id)
        policies[list_id] = _read_policy(store, row, mailing, bans.get(list_id, NO_PATTERNS), site_bans)
    names = Names.of(
        {found.mailing_list.address: list_id for list_id, found in policies.items()}, settings.site.domains
    )
    return _Snapshot(version, marks, View(names, suffixes, policies))


def _has_moved(now: _Mark, before: _Mark | None) -> bool:
    return before is None or (now.row, now.version) != (before.row, before.version)


def _read_marks(connection: Connection) -> tuple[dict[ListId, _Mark], dict[ListId, str]]:
    columns = mailing_list.c
    rows = connection.execute(
        select(columns.list_id, columns.id, columns.version, columns.deliveries, columns.address)
    ).all()
    marks = {ListId(row[0]): _Mark(row[1], row[2], row[3]) for row in rows}
    return marks, {ListId(row[0]): row[4] for row in rows}


def _read_bans(connection: Connection) -> dict[ListId, Patterns]:
    found: dict[ListId, list[str]] = {}
    for ban in read_bans(connection):
        found.setdefault(ban.list_id, []).append(ban.pattern)
    return {list_id: Patterns.of(entries) for list_id, entries in found.items()}


def _site_bans(policies: Iterable[ListPolicy]) -> Patterns:
    return next((found.site_bans for found in policies), NO_PATTERNS)


def _read_policy(
    store: Store, row: int, mailing: MailingList, bans: Patterns, site_bans: Patterns
) -> ListPolicy:
    """Read who may post to one list, page by page."""
    rolls = Rolls(set(), {}, {})
    place: tuple[str, str] | None = ("", "")
    while place is not None:
        with reading(store.engine) as connection:
            place = rolls_page(connection, row, place, rolls)
    with reading(store.engine) as connection:
        other_addresses(connection, row, rolls)
    return ListPolicy(
        mailing_list=mailing,
        members=rolls.members,
        member_actions=rolls.member_actions,
        nonmember_actions=rolls.nonmember_actions,
        allowed=Patterns.of(mailing.settings.accept_these_nonmembers),
        bans=bans,
        site_bans=site_bans,
    )


def _read_recipients(store: Store, row: int) -> tuple[str, ...]:
    """Read who gets a list's posts, page by page."""
    found: list[str] = []
    after = ""
    while True:
        with reading(store.engine) as connection:
            page = recipients_page(connection, row, after)
        if not page:
            return tuple(found)
        found.extend(written for _, written in page)
        after = page[-1][0]
