"""What a decision reads: lists/roster.py over one transaction, each read whole and for few rows."""

from collections.abc import Collection
from datetime import date, datetime

from sqlalchemy import Connection

from config.names import ItemId, ListId
from lists.bounces.brake import Topic
from lists.errors import NoSuchList
from lists.gate import Spent
from lists.mailbox import address_key
from lists.model import HeldPost, MailingList, Member, Role
from lists.patterns import Patterns
from lists.records import BounceRecord, Evidence, Freeze, Request, RequestKind, Token
from lists.store import bounces, budgets, held, members, persons, waiting
from lists.store.bans import read_bans
from lists.store.lists import find_list, find_row


class StoreRoster:
    """The store inside the transaction that will take the changes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._rows: dict[ListId, int | None] = {}  # nobody else can change them meanwhile

    # Lists and people -------------------------------------------------------------------------------------------------

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list, None when it is gone."""
        try:
            return find_list(self._connection, list_id)
        except NoSuchList:
            return None

    def member(self, list_id: ListId, address: str, role: Role = "member") -> Member | None:
        """Return the member with this very address, None for anybody else."""
        row = self._row(list_id)
        return None if row is None else members.find_member(self._connection, row, address, role)

    def roles(self, list_id: ListId, address: str) -> tuple[Member, ...]:
        """Return the memberships of this very address, one for each role that it has."""
        row = self._row(list_id)
        return () if row is None else members.memberships_of(self._connection, row, address)

    def member_by_id(self, number: int) -> tuple[ListId, Member] | None:
        """Return the membership that a VERP token names, None when it is over."""
        return members.member_by_id(self._connection, number)

    def members_of_person(self, list_id: ListId, address: str, role: Role = "member") -> tuple[Member, ...]:
        """Return the memberships of this address and of every other one of the same person, in order of key."""
        row = self._row(list_id)
        return (
            ()
            if row is None
            else members.members_among(self._connection, row, self.addresses_of_person(address), role)
        )

    def addresses_of_person(self, address: str) -> tuple[str, ...]:
        """Return all addresses of the person who has this one, itself included, sorted; of a stranger only itself."""
        return persons.addresses_of_person(self._connection, address)

    def owners(self, list_id: ListId) -> tuple[str, ...]:
        """Return the owners' addresses, sorted."""
        row = self._row(list_id)
        return () if row is None else members.addresses_of(self._connection, row, ("owner",))

    def addresses_of(self, list_id: ListId, roles: Collection[Role]) -> tuple[str, ...]:
        """Return the addresses in these roles, each once, sorted."""
        row = self._row(list_id)
        return () if row is None else members.addresses_of(self._connection, row, roles)

    def is_banned(self, list_id: ListId, address: str) -> bool:
        """Tell whether a ban of the list or of the site names this address or another one of the same person."""
        found = [*read_bans(self._connection, list_id), *read_bans(self._connection, ListId(""))]
        patterns = Patterns.of(ban.pattern for ban in found)
        return any(patterns.match(address_key(each)) for each in self.addresses_of_person(address))

    # Waiting ----------------------------------------------------------------------------------------------------------

    def held(self, number: int) -> HeldPost | None:
        """Return a held post, None when somebody has decided about it already."""
        return held.find_held(self._connection, number)

    def held_by_item(self, list_id: ListId, item_id: ItemId) -> HeldPost | None:
        """Return the post that handling this item has held, None when somebody has decided about it already."""
        return held.find_held_by_item(self._connection, list_id, item_id)

    def token(self, token_hash: str) -> Token | None:
        """Return a token, used and expired ones too, until they are trimmed."""
        return waiting.read_token(self._connection, token_hash)

    def request(self, list_id: ListId, address: str, kind: RequestKind) -> Request | None:
        """Return the open request of an address, None when there is none."""
        return waiting.find_request(self._connection, list_id, address, kind)

    def request_by_id(self, number: int) -> Request | None:
        """Return an open request, None when it is closed."""
        return waiting.read_request(self._connection, number)

    # Bounces ----------------------------------------------------------------------------------------------------------

    def bounces(self, list_id: ListId, address: str) -> BounceRecord:
        """Return where a member stands; the empty record for one who never bounced, and for a stranger."""
        member = self.member(list_id, address)
        return BounceRecord() if member is None else bounces.read_record(self._connection, member.id)

    def evidence(self, list_id: ListId, address: str, limit: int = 20) -> tuple[Evidence, ...]:
        """Return the newest bounces of an address, newest first."""
        return bounces.read_evidence(self._connection, list_id, address, limit)

    def expired_on(self, list_id: ListId, day: date) -> tuple[str, ...]:
        """Return the keys of the addresses with evidence of 4.4.7 on a day (UTC), each once, sorted."""
        return bounces.expired_on(self._connection, list_id, day)

    def count_bounced(self, list_id: ListId, since: datetime, topic: Topic) -> int:
        """Return how many different addresses of a list have bounced under a topic since."""
        return bounces.count_bounced(self._connection, list_id, since, topic)

    def count_members_at(self, list_id: ListId, domain: str) -> int:
        """Return how many members a list has at a domain."""
        row = self._row(list_id)
        return 0 if row is None else members.count_members_at(self._connection, row, domain)

    def freezes(self, list_id: ListId) -> tuple[Freeze, ...]:
        """Return what is frozen in a list, by freezes of the whole site too."""
        return bounces.read_freezes(self._connection, list_id)

    # Automatic mail ---------------------------------------------------------------------------------------------------

    def spent(self, key: str) -> Spent:
        """Return the budget's row of a key (gate.budget_key)."""
        return budgets.read_spent(self._connection, key)

    def _row(self, list_id: ListId) -> int | None:
        if list_id not in self._rows:
            try:
                self._rows[list_id] = find_row(self._connection, list_id)[0]
            except NoSuchList:
                self._rows[list_id] = None
        return self._rows[list_id]
