"""The list store: the only module that reads or writes list data.

`Store` is what the rest of Postroom sees: short transactions, each begun and ended in one call, results whole. It is synchronous (async
callers use asyncio.to_thread) and may be used from several threads. The nouns are in the modules beside this one, what differs between
databases in engine.py.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection

from config.clock import Clock
from config.names import ItemId, ListId
from config.settings import Settings
from lists.address import check_list_address
from lists.changes import Decision, Roster
from lists.errors import NoSuchHeld, NoSuchMember
from lists.mailbox import check_address
from lists.model import Ban, HeldPost, ListSettings, MailingList, Member, Role
from lists.options import change_settings, check_member_action
from lists.patterns import check_pattern
from lists.store import applied, bans, held, lists, members, migrate, versions
from lists.store.engine import BUSY_TIMEOUT_S, make_engine, make_file, reading, store_file, writing

BATCH = 1000  # addresses of one write: about 20 ms in which nobody else writes

Progress = Callable[[int, int], None]  # done, total


class Store:
    """The list store of one site."""

    def __init__(self, settings: Settings, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._settings = settings
        self._file = store_file(settings.lists.store)
        self._clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
        self.engine = make_engine(settings.lists.store, busy_timeout_s)

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
        self, address: str, settings: ListSettings | Iterable[str] = (), owners: Iterable[str] = ()
    ) -> MailingList:
        """Make a list; `settings` may be KEY=VALUE texts. Raises BadAddress, BadOption, ListExists."""
        checked = check_list_address(address, self._settings.site.domains)
        if not isinstance(settings, ListSettings):
            settings = change_settings(ListSettings(), settings)
        owner_list = [check_address(owner) for owner in owners]
        with writing(self.engine) as connection:
            made = lists.create_list(connection, checked, settings, self._clock.time_ms())
            row = lists.find_row(connection, made.list_id)[0]
            members.add_members(connection, row, owner_list, "owner", self._clock.time_ms())
        return made

    def remove_list(self, text: str) -> MailingList:
        """Take a list away with its members, settings and bans; held posts stay. Raises NoSuchList."""
        with writing(self.engine) as connection:
            gone = lists.find_list(connection, text)
            lists.remove_list(connection, lists.find_row(connection, text)[0], gone.list_id)
        return gone

    def lists(self) -> tuple[MailingList, ...]:
        """Return every list, by address."""
        with reading(self.engine) as connection:
            return lists.all_lists(connection)

    def find_list(self, text: str) -> MailingList:
        """Return the list with this address or list-id; raises NoSuchList."""
        with reading(self.engine) as connection:
            return lists.find_list(connection, text)

    def set_options(self, text: str, assignments: Iterable[str]) -> ListSettings:
        """Apply KEY=VALUE texts to a list, all or none; raises NoSuchList, BadOption."""
        with writing(self.engine) as connection:
            return lists.set_options(connection, lists.find_row(connection, text)[0], assignments)

    # Members ----------------------------------------------------------------------------------------------------------

    def add_members(
        self,
        list_id: str,
        addresses: Iterable[str],
        role: Role = "member",
        progress: Progress | None = None,
    ) -> int:
        """Add addresses in one role, returns how many were new; raises NoSuchList, and BadAddress before anything is written.

        Batches of BATCH, each committed by itself: whoever else wants to write gets a turn between two, so posting goes on.
        """
        wanted = [check_address(each) for each in addresses]
        added = 0
        for start in range(0, len(wanted), BATCH):
            batch = wanted[start : start + BATCH]
            with writing(self.engine) as connection:
                row = lists.find_row(connection, list_id)[0]
                added += members.add_members(connection, row, batch, role, self._clock.time_ms())
            if progress is not None:
                progress(start + len(batch), len(wanted))
        return added

    def remove_members(self, list_id: str, addresses: Iterable[str], role: Role | None = None) -> int:
        """Take addresses out of a list (every role without `role`); returns how many memberships went. Raises NoSuchList."""
        wanted = list(addresses)
        gone = 0
        for start in range(0, len(wanted), BATCH):
            with writing(self.engine) as connection:
                row = lists.find_row(connection, list_id)[0]
                gone += members.remove_members(connection, row, wanted[start : start + BATCH], role)
        return gone

    def set_member(
        self,
        list_id: str,
        address: str,
        *,
        delivery: bool | None = None,
        moderation_action: str | None = None,
        role: Role = "member",
    ) -> Member:
        """Change what one membership says; None leaves as it is. Raises NoSuchList, NoSuchMember, BadOption."""
        if moderation_action is not None:
            check_member_action(moderation_action)
        with writing(self.engine) as connection:
            row, found_id, _ = lists.find_row(connection, list_id)
            member = members.find_member(connection, row, address, role)
            if member is None:
                raise NoSuchMember(found_id, address)
            members.set_member(connection, row, member, delivery, moderation_action)
            changed = members.find_member(connection, row, address, role)
        assert changed is not None
        return changed

    def link_addresses(self, one: str, other: str) -> None:
        """Say that two addresses are one person's: a membership of either lets both post. Raises BadAddress."""
        with writing(self.engine) as connection:
            members.link_addresses(
                connection, check_address(one), check_address(other), self._clock.time_ms()
            )

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

    def add_ban(self, pattern: str, list_id: str = "") -> bool:
        """Ban an address or ^regex from a list, or from the site; False: it was already. Raises BadPattern, NoSuchList."""
        check_pattern(pattern)
        with writing(self.engine) as connection:
            row, found_id = self._scope(connection, list_id)
            return bans.add_ban(connection, row, found_id, pattern, self._clock.time_ms())

    def remove_ban(self, pattern: str, list_id: str = "") -> None:
        """Lift a ban; raises NoSuchBan, NoSuchList."""
        with writing(self.engine) as connection:
            row, found_id = self._scope(connection, list_id)
            bans.remove_ban(connection, row, found_id, pattern)

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

    # Effects of items -------------------------------------------------------------------------------------------------

    def apply_once(self, item_id: ItemId, decide: Callable[[Roster], Decision]) -> bytes:
        """Return the outcome of an item: the stored one, or what `decide` says now, stored together with its changes.

        `decide` is pure and sees what this transaction reads. One call per item. A decision with `keep` False stores nothing.
        """
        with writing(self.engine) as connection:
            return applied.apply_once(connection, item_id, decide, self._clock.time_ms())

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
