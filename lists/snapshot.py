"""One reading of everything that RCPT looks at, as a frozen value, and how the next one is made from it.

The version number is read first, so a snapshot is at least as new as it says; what moves while it is read has a higher number and
comes next time. Only lists that moved are read again, and of their members only those who are new, when nobody left.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection

from config.names import ListId
from config.settings import Settings
from lists.address import Names, Suffixes
from lists.header_patterns import read_header_patterns
from lists.model import ListSettings, MailingList
from lists.patterns import NO_PATTERNS, Patterns
from lists.policy import ListPolicy, TokenCheck, View
from lists.store import Store
from lists.store.bans import read_bans
from lists.store.engine import reading
from lists.store.lists import read_settings
from lists.store.persons import other_keys
from lists.store.rolls import MANY, Mark, Rolls, read_marks, read_rolls

SITE = ListId("")  # whose bans are everybody's


class Snapshot(Struct, frozen=True):
    """Everything at one version; newer in places, never older."""

    version: tuple[int, int]
    marks: Mapping[ListId, Mark]
    rolls: Mapping[ListId, Rolls]
    view: View


def empty_snapshot(suffixes: Suffixes, tokens: TokenCheck | None = None) -> Snapshot:
    """Return the one that knows nothing and is older than every other."""
    return Snapshot((0, 0), {}, {}, View(Names({}, frozenset()), suffixes, {}, tokens))


def next_snapshot(store: Store, settings: Settings, old: Snapshot, version: tuple[int, int]) -> Snapshot:
    """Read what moved since `old`; `version` was read before. Raises StoreAway."""
    with reading(store.engine) as connection:
        marks = read_marks(connection)
        moved = {list_id: mark for list_id, mark in marks.items() if _has_moved(mark, old.marks.get(list_id))}
        rows = [mark.row for mark in moved.values()]
        options = read_settings(connection, rows if len(rows) <= MANY else None)
        bans = _read_bans(connection)
        allowed = {
            list_id: Patterns.of(options.get(mark.row, ListSettings()).accept_these_nonmembers)
            for list_id, mark in moved.items()
        }
        bans, allowed = _for_persons(connection, bans), _for_persons(connection, allowed)
    fresh = {list_id: _rolls_to_go_on(mark, list_id, old) for list_id, mark in moved.items()}
    read_rolls(store.engine, {moved[list_id].row: rolls for list_id, rolls in fresh.items()})
    kept = {list_id: found for list_id, found in old.rolls.items() if list_id in marks}
    site = settings.site
    names = Names.of(
        {mark.address: list_id for list_id, mark in marks.items()},
        site.domains,
        site.domain_aliases,
        site.mailboxes,
    )
    policies = _kept_policies(old, marks, bans.get(SITE, NO_PATTERNS))
    for list_id, mark in moved.items():
        mailing = MailingList.at(mark.address, options.get(mark.row, ListSettings()), list_id)
        named = Named(names.alias_domains(mailing), allowed[list_id], bans.get(list_id, NO_PATTERNS))
        policies[list_id] = _make_policy(mailing, fresh[list_id], named, bans.get(SITE, NO_PATTERNS))
    return Snapshot(version, marks, {**kept, **fresh}, replace(old.view, names=names, policies=policies))


def _has_moved(now: Mark, before: Mark | None) -> bool:
    return before is None or (now.row, now.version) != (before.row, before.version)


def _rolls_to_go_on(mark: Mark, list_id: ListId, old: Snapshot) -> Rolls:
    """Return a copy to read on with when people only joined; else empty rolls."""
    before = old.marks.get(list_id)
    if before is None or (before.row, before.rewritten) != (mark.row, mark.rewritten):
        return Rolls()
    return old.rolls[list_id].copy()


def _kept_policies(
    old: Snapshot, marks: Mapping[ListId, Mark], site_bans: Patterns
) -> dict[ListId, ListPolicy]:
    """Return the policies of the lists that are still there, with the site's bans as they are now."""
    policies = {list_id: found for list_id, found in old.view.policies.items() if list_id in marks}
    if all(found.site_bans == site_bans for found in policies.values()):
        return policies
    return {list_id: replace(found, site_bans=site_bans) for list_id, found in policies.items()}


class Named(Struct, frozen=True):
    """What settings and bans name for one list."""

    alias_domains: tuple[str, ...]
    allowed: Patterns
    bans: Patterns


def _make_policy(mailing: MailingList, rolls: Rolls, named: Named, site_bans: Patterns) -> ListPolicy:
    return ListPolicy(
        mailing_list=mailing,
        other_addresses=tuple(f"{mailing.name}@{domain}" for domain in named.alias_domains),
        members=rolls.members,
        member_actions=rolls.member_actions,
        nonmember_actions=rolls.nonmember_actions,
        allowed=named.allowed,
        bans=named.bans,
        site_bans=site_bans,
        refuses_some=any(
            "reject" in actions.values() for actions in (rolls.member_actions, rolls.nonmember_actions)
        ),
        header_patterns=read_header_patterns(mailing.settings.header_matches),
        aliases=Patterns.of(mailing.settings.acceptable_aliases),
    )


def _read_bans(connection: Connection) -> dict[ListId, Patterns]:
    found: dict[ListId, list[str]] = {}
    for ban in read_bans(connection):
        found.setdefault(ban.list_id, []).append(ban.pattern)
    return {list_id: Patterns.of(entries) for list_id, entries in found.items()}


def _for_persons(connection: Connection, found: dict[ListId, Patterns]) -> dict[ListId, Patterns]:
    """Let an entry that is an address stand for every address of its person."""
    named = frozenset[str]().union(*(patterns.addresses for patterns in found.values()))
    others = other_keys(connection, named)
    if not others:
        return found
    return {
        list_id: patterns.with_addresses(
            other for key in patterns.addresses & others.keys() for other in others[key]
        )
        for list_id, patterns in found.items()
    }
