"""What a decision may read: the list store as its own transaction sees it.

Implemented by store/reading.py, and by nothing else: tests decide against a real store. Every address may be in any spelling. A list that
is not there has nobody in it.
"""

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Protocol

from config.names import ItemId, ListId
from lists.bounces.brake import Topic
from lists.gate import Spent
from lists.model import HeldPost, MailingList, Member, Role
from lists.records import BounceRecord, Evidence, Freeze, Request, RequestKind, Token


class Roster(Protocol):
    """The store inside the transaction that will take the changes."""

    # Lists and people -------------------------------------------------------------------------------------------------

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list, None when it is gone."""

    def member(self, list_id: ListId, address: str, role: Role = "member") -> Member | None:
        """Return the member with this very address, None for anybody else."""

    def roles(self, list_id: ListId, address: str) -> Sequence[Member]:
        """Return the memberships of this very address, one for each role that it has."""

    def member_by_id(self, number: int) -> tuple[ListId, Member] | None:
        """Return the membership that a VERP token names, None when it is over."""

    def members_of_person(self, list_id: ListId, address: str, role: Role = "member") -> Sequence[Member]:
        """Return the memberships of this address and of every other one of the same person, in order of key."""

    def addresses_of_person(self, address: str) -> Sequence[str]:
        """Return all addresses of the person who has this one, itself included, sorted; of a stranger only itself."""

    def owners(self, list_id: ListId) -> Sequence[str]:
        """Return the owners' addresses, sorted."""

    def addresses_of(self, list_id: ListId, roles: Collection[Role]) -> Sequence[str]:
        """Return the addresses in these roles, each once, sorted: ("owner", "moderator") is who is told things."""

    def is_banned(self, list_id: ListId, address: str) -> bool:
        """Tell whether a ban of the list or of the site names this address or another one of the same person."""

    # Waiting ----------------------------------------------------------------------------------------------------------

    def held(self, number: int) -> HeldPost | None:
        """Return a held post, None when somebody has decided about it already."""

    def held_by_item(self, list_id: ListId, item_id: ItemId) -> HeldPost | None:
        """Return the post that handling this item has held, None when somebody has decided about it already."""

    def token(self, token_hash: str) -> Token | None:
        """Return a token, used and expired ones too, until they are trimmed."""

    def request(self, list_id: ListId, address: str, kind: RequestKind) -> Request | None:
        """Return the open request of an address, None when there is none."""

    def request_by_id(self, number: int) -> Request | None:
        """Return an open request, None when it is closed."""

    # Bounces ----------------------------------------------------------------------------------------------------------

    def bounces(self, list_id: ListId, address: str) -> BounceRecord:
        """Return where a member stands; the empty record for one who never bounced, and for a stranger."""

    def evidence(self, list_id: ListId, address: str, limit: int = 20) -> Sequence[Evidence]:
        """Return the newest bounces of an address, newest first."""

    def expired_on(self, list_id: ListId, day: date) -> Sequence[str]:
        """Return the keys of the addresses with evidence of 4.4.7 on a day (UTC), each once, sorted."""

    def count_bounced(self, list_id: ListId, since: datetime, topic: Topic) -> int:
        """Return how many different addresses of a list have bounced under a topic since: `failing` of brake.is_incident."""

    def count_members_at(self, list_id: ListId, domain: str) -> int:
        """Return how many members a list has at a domain: `members` of brake.is_incident. Reads all of the list's keys: 10 ms for 100,000."""

    def freezes(self, list_id: ListId) -> Sequence[Freeze]:
        """Return what is frozen in a list, by freezes of the whole site too; whether one is over is for the caller to see."""

    # Automatic mail ---------------------------------------------------------------------------------------------------

    def spent(self, key: str) -> Spent:
        """Return the budget's row of a key (gate.budget_key)."""
