"""The list store: the only module that reads or writes list data.

`Store` is what the rest of Postroom sees: short transactions, each begun and ended in one call, results whole. It is synchronous (async
callers use asyncio.to_thread) and may be used from several threads. The nouns are in the modules beside this one, what differs between
databases in engine.py.

Statements that the mail of every day needs are constants of those modules, made once with `bindparam`: measured with SQLite, making
one costs three times as much as running it (50 and 14 microseconds).
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from config.clock import Clock
from config.names import ItemId, ListId
from config.settings import Settings
from lists.address import check_list_address, fold_aliases
from lists.changes import Change, Decision, JoinMember, SetDelivery, SetPreference
from lists.errors import NoSuchHeld
from lists.listfile import FORMAT, ListFile, ListLine, write_lines
from lists.mailbox import check_address
from lists.model import Ban, DeliveryStatus, HeldPost, ListSettings, MailingList, Member, Role
from lists.options import change_settings, check_member_action
from lists.patterns import check_pattern
from lists.records import Origin
from lists.roster import Roster
from lists.store import applied, bans, held, listfile, lists, members, migrate, persons, versions
from lists.store.engine import BUSY_TIMEOUT_S, make_engine, make_file, reading, store_file, writing
from lists.store.history import Pen
from lists.store.performing import perform
from lists.store.reading import StoreRoster
from lists.store.records import Records

T = TypeVar("T")

COMMAND = Origin("command")  # of bin/postroom, which adds the user
BATCH = 1000  # addresses of one write: about 20 ms in which nobody else writes

Progress = Callable[[int, int], None]  # done, total


class Store:
    """The list store of one site."""

    def __init__(self, settings: Settings, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._settings = settings
        self._file = store_file(settings.lists.store)
        self._clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
        self.engine = make_engine(settings.lists.store, busy_timeout_s)
        aliases = fold_aliases(settings.site.domain_aliases)
        self.engine.update_execution_options(**{lists.ALIASES: aliases})
        self.records = Records(self.engine)

    def open(self) -> None:
        """Make or migrate the schema where that is needed; raises StoreAway, StoreTooNew."""
        try:
            if self._file is not None:
                make_file(self._file)
            migrate.ensure_schema(self.engine, self._file)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def __enter__(self) -> "Store":
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> int:
        """Return the site's version, which rises with what RCPT looks at."""
        with reading(self.engine) as connection:
            return versions.read_version(connection)[0]

    # Lists ------------------------------------------------------------------------------------------------------------

    def create_list(
        self,
        address: str,
        settings: ListSettings | Iterable[str] = (),
        owners: Iterable[str] = (),
        origin: Origin = COMMAND,
    ) -> MailingList:
        """Make a list; `settings` may be KEY=VALUE texts. Raises BadAddress, BadOption, ListExists."""
        site = self._settings.site
        checked = check_list_address(address, site.domains, site.domain_aliases)
        if not isinstance(settings, ListSettings):
            settings = change_settings(ListSettings(), settings)
        owner_list = [check_address(owner) for owner in owners]
        with self.pen(origin) as pen:
            made = lists.create_list(pen, checked, settings)
            row = lists.find_row(pen.connection, made.list_id)[0]
            joining = [JoinMember(made.list_id, owner, "owner") for owner in owner_list]
            members.add_members(pen, row, made.list_id, joining, "owner")
        return made

    def remove_list(self, text: str, origin: Origin = COMMAND) -> MailingList:
        """Take a list away with its members, settings and bans; held posts and history stay. Raises NoSuchList."""
        with self.pen(origin) as pen:
            gone = lists.find_list(pen.connection, text)
            lists.remove_list(pen, lists.find_row(pen.connection, text)[0], gone.list_id)
        return gone

    def lists(self) -> tuple[MailingList, ...]:
        """Return every list, by address."""
        with reading(self.engine) as connection:
            return lists.all_lists(connection)

    def find_list(self, text: str) -> MailingList:
        """Return the list with this address or list-id; raises NoSuchList."""
        with reading(self.engine) as connection:
            return lists.find_list(connection, text)

    def set_options(self, text: str, assignments: Iterable[str], origin: Origin = COMMAND) -> ListSettings:
        """Apply KEY=VALUE texts to a list, all or none; raises NoSuchList, BadOption."""
        with self.pen(origin) as pen:
            row, list_id, _ = lists.find_row(pen.connection, text)
            return lists.set_options(pen, row, list_id, assignments)

    # Members ----------------------------------------------------------------------------------------------------------

    def add_members(
        self,
        list_id: str,
        addresses: Iterable[str],
        role: Role = "member",
        progress: Progress | None = None,
        origin: Origin = COMMAND,
    ) -> int:
        """Add addresses in one role, returns how many were new; raises NoSuchList, and BadAddress before anything is written.

        Batches of BATCH, each committed by itself: whoever else wants to write gets a turn between two, so posting goes on.
        """
        wanted = [check_address(each) for each in addresses]
        added = 0
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            with self.pen(origin) as pen:
                row, found_id, _ = lists.find_row(pen.connection, list_id)
                joining = [JoinMember(found_id, each, role) for each in batch]
                added += members.add_members(pen, row, found_id, joining, role)
            if progress is not None:
                progress(start + len(batch), len(wanted))
        return added

    def remove_members(
        self, list_id: str, addresses: Iterable[str], role: Role | None = None, origin: Origin = COMMAND
    ) -> int:
        """Take addresses out of a list (every role without `role`); returns how many memberships went. Raises NoSuchList."""
        wanted = list(addresses)
        gone = 0
        for start in range(0, len(wanted), BATCH):
            with self.pen(origin) as pen:
                row, found_id, _ = lists.find_row(pen.connection, list_id)
                gone += members.remove_members(pen, row, found_id, wanted[start : start + BATCH], role)
        return gone

    def set_member(
        self,
        list_id: str,
        address: str,
        *,
        delivery: bool | None = None,
        moderation_action: str | None = None,
        role: Role = "member",
        origin: Origin = COMMAND,
    ) -> Member:
        """Change what an owner says of one membership; None leaves as it is. Raises NoSuchList, NoSuchMember, BadOption."""
        if moderation_action is not None:
            check_member_action(moderation_action)
        found_id = ListId(list_id)
        changes: list[Change] = [
            SetPreference(list_id=found_id, address=address, role=role, moderation_action=moderation_action)
        ]
        if delivery is not None:
            status: DeliveryStatus = "enabled" if delivery else "by_owner"
            changes.append(SetDelivery(found_id, address, status, role=role))
        self.perform(changes, origin)
        changed = self.member(list_id, address, role)
        assert changed is not None
        return changed

    def link_addresses(self, one: str, other: str, origin: Origin = COMMAND) -> bool:
        """Say that two addresses are one person's: a membership of either lets both post, in every list. False: they were. Raises BadAddress."""
        with self.pen(origin) as pen:
            return persons.link_addresses(pen, check_address(one), check_address(other))

    def unlink_addresses(self, one: str, other: str, origin: Origin = COMMAND) -> bool:
        """Take `other` from the person who has `one`; the rest stay together. False: it was not theirs."""
        with self.pen(origin) as pen:
            return persons.unlink_addresses(pen, one, other)

    def members(
        self, list_id: str, role: Role | None = None, after: str = "", limit: int = 1000
    ) -> tuple[Member, ...]:
        """Return one page in order of key; the next one is after the last one's `cursor`. Raises NoSuchList."""
        with reading(self.engine) as connection:
            row = lists.find_row(connection, list_id)[0]
            return members.list_members(connection, row, role, after, limit)

    def member(self, list_id: str, address: str, role: Role = "member") -> Member | None:
        """Return one membership by address, any spelling of it; raises NoSuchList."""
        with reading(self.engine) as connection:
            return members.find_member(connection, lists.find_row(connection, list_id)[0], address, role)

    def count_members(self, list_id: str, role: Role = "member") -> int:
        """Return how many have a role; raises NoSuchList."""
        with reading(self.engine) as connection:
            return members.count_members(connection, lists.find_row(connection, list_id)[0], role)

    def owners(self, list_id: str) -> tuple[str, ...]:
        """Return the owners' addresses, sorted; raises NoSuchList."""
        return self.addresses_of(list_id, ("owner",))

    def addresses_of(self, list_id: str, roles: Iterable[Role]) -> tuple[str, ...]:
        """Return the addresses in these roles, each once, sorted: ("owner", "moderator") for owner mail. Raises NoSuchList."""
        with reading(self.engine) as connection:
            return members.addresses_of(connection, lists.find_row(connection, list_id)[0], roles)

    # Bans -------------------------------------------------------------------------------------------------------------

    def add_ban(self, pattern: str, list_id: str = "", origin: Origin = COMMAND) -> bool:
        """Ban an address or ^regex from a list, or from the site; False: it was already. Raises BadPattern, NoSuchList."""
        check_pattern(pattern)
        with self.pen(origin) as pen:
            row, found_id = self._scope(pen.connection, list_id)
            return bans.add_ban(pen, row, found_id, pattern)

    def remove_ban(self, pattern: str, list_id: str = "", origin: Origin = COMMAND) -> None:
        """Lift a ban; raises NoSuchBan, NoSuchList."""
        with self.pen(origin) as pen:
            row, found_id = self._scope(pen.connection, list_id)
            bans.remove_ban(pen, row, found_id, pattern)

    def bans(self, list_id: str | None = None) -> tuple[Ban, ...]:
        """Return the bans of a list, "" for the site's, None for all. Raises NoSuchList."""
        with reading(self.engine) as connection:
            return bans.read_bans(
                connection, None if list_id is None else self._scope(connection, list_id)[1]
            )

    def _scope(self, connection: Connection, list_id: str) -> tuple[int | None, ListId]:
        return lists.find_row(connection, list_id)[:2] if list_id else (None, ListId(""))

    # Held posts -------------------------------------------------------------------------------------------------------

    def held(self, list_id: str | None = None, after: int = 0, limit: int = 500) -> tuple[HeldPost, ...]:
        """Return one page of held posts, oldest first, of one list (by its list-id, which may be gone) or all."""
        with reading(self.engine) as connection:
            return held.list_held(connection, None if list_id is None else ListId(list_id), after, limit)

    def held_post(self, number: int) -> tuple[HeldPost, bytes]:
        """Return a held post and its octets; raises NoSuchHeld."""
        with reading(self.engine) as connection:
            found = held.find_held(connection, number)
            if found is None:
                raise NoSuchHeld(number)
            return found, held.held_content(connection, number)

    # Moving a list ----------------------------------------------------------------------------------------------------

    def export_list(self, text: str) -> Iterator[bytes]:
        """Yield the lines of a file that `import_list` takes (listfile.py); between two pages nothing is held open. Raises NoSuchList at once."""
        with reading(self.engine) as connection:
            mailing_list = lists.find_list(connection, text)
            row = lists.find_row(connection, text)[0]
        head = ListLine(
            address=mailing_list.address,
            list_id=mailing_list.list_id,
            exported_at=self._clock.now(),
            format=FORMAT,
        )
        return write_lines(head, listfile.export_body(self.engine, mailing_list, row))

    def import_list(
        self,
        lines: Iterable[bytes],
        address: str = "",
        tell: Callable[[int], None] = lambda count: None,
        origin: Origin = COMMAND,
    ) -> MailingList:
        """Make the list of an exported file, at another `address` if one is given, whole or not at all; `tell` hears how many members are in.

        Raises BadListFile, BadAddress, ListExists.
        """
        file = ListFile(lines)
        checked = check_list_address(address or file.head.address, self._settings.site.domains)
        with self.pen(origin) as pen:
            return listfile.import_list(pen, file, checked, tell)

    # Commands ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def pen(self, origin: Origin) -> Iterator[Pen]:
        """Open a transaction to write in, with where its changes come from."""
        with writing(self.engine) as connection:
            yield Pen(connection, origin, self._clock.time_ms())

    def perform(self, changes: Iterable[Change], origin: Origin = COMMAND) -> None:
        """Do changes that no item asks for, all or none; raises NoSuchList, NoSuchMember."""
        self.decide(lambda _: Decision(tuple(changes), origin=origin))

    def decide(self, decide: Callable[[Roster], Decision]) -> bytes:
        """Do what `decide` says of the store as it is, in one transaction, and return its outcome, which is not stored."""
        with writing(self.engine) as connection:
            decision = decide(StoreRoster(connection))
            pen = Pen(connection, decision.origin, self._clock.time_ms())
            for change in decision.changes if decision.keep else ():
                perform(pen, change)
        return decision.outcome

    def look(self, read: Callable[[Roster], T]) -> T:
        """Return what `read` makes of one reading transaction; it returns values, never the roster."""
        with reading(self.engine) as connection:
            return read(StoreRoster(connection))

    # Effects of items -------------------------------------------------------------------------------------------------

    def apply_once(self, item_id: ItemId, decide: Callable[[Roster], Decision]) -> bytes:
        """Return the outcome of an item: the stored one, or what `decide` says now, stored together with its changes.

        `decide` is pure and sees what this transaction reads. One call per item. A decision with `keep` False stores nothing.
        """
        with writing(self.engine) as connection:
            return applied.apply_once(connection, item_id, decide, self._clock.time_ms())

    def apply_many(self, wanted: Iterable[tuple[ItemId, Callable[[Roster], Decision]]]) -> tuple[bytes, ...]:
        """Do `apply_once` for several items in one transaction: one commit for all, so all are stored or none.

        Each decision sees what the ones before it changed. What any of them raises undoes all; the caller then goes one by one.
        """
        with writing(self.engine) as connection:
            now_ms = self._clock.time_ms()
            return tuple(
                applied.apply_once(connection, item_id, decide, now_ms) for item_id, decide in wanted
            )

    def outcome(self, item_id: ItemId) -> bytes | None:
        """Return the stored outcome of an item, None when it has had no effect here."""
        with reading(self.engine) as connection:
            return applied.stored_outcome(connection, item_id)

    def trim_applied(
        self, older_than: datetime, still_held: Callable[[Sequence[ItemId]], Collection[ItemId]]
    ) -> int:
        """Forget outcomes stored before a time, unless the bus, asked by `still_held`, has the item in any state; returns how many."""
        before_ms = int(older_than.timestamp() * 1000)
        place = (0, "")
        forgotten = 0
        while True:
            with reading(self.engine) as connection:
                page = applied.old_outcomes(connection, before_ms, place)
            if not page:
                return forgotten
            ids = [item_id for _, item_id in page]
            gone = set(ids) - set(still_held(ids))  # outside a transaction: this asks another process
            if gone:
                with writing(self.engine) as connection:
                    applied.forget_outcomes(connection, gone)
            forgotten += len(gone)
            place = page[-1]
