"""What a decision wants to write: letters are put before the gate, paid from the budgets, and come out as changes and outputs.

A handler collects its letters inside `decide`, calls `write_letters` once, and puts what comes back into its Decision: budgets, tokens and mail are
then one transaction. A letter that the gate denies is not written, and everything else of the decision stands.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct
from msgspec.structs import replace

from bus.messages import Item
from lists.address import Suffixes
from lists.changes import Change, SpendBudget
from lists.gate import Cause, Denial, Kind, Permit, Spent, budget_key, judge
from lists.model import MailingList
from lists.roster import Roster
from lists.secret import load_site_key
from lists.tokens import SiteKey
from runners.notices import Desk, write_notice
from runners.outcome import Output
from runners.phrases import Value
from runners.texts import Texts

if TYPE_CHECKING:
    from runners.site import Site


MAX_LANGUAGES: Final = 4  # in which one letter to several is written; who reads another gets the list's


class Letter(Struct, frozen=True, kw_only=True):
    """One mail that is wanted; see notices.write_notice for what the fields mean."""

    kind: Kind
    address: str
    others: tuple[str, ...] = ()  # who else gets it, as one mail for all who read the same language
    template: str
    values: Mapping[str, Value] = {}
    sender: str = ""
    subject_tail: str = ""
    reverse_path: str | None = None

    @property
    def most_outputs(self) -> int:
        """Return how many outputs it may become: an ack has room for so many alone (bus.messages.MAX_OUTPUTS)."""
        return min(MAX_LANGUAGES, 1 + len(self.others))


class Office(Struct, frozen=True, kw_only=True):
    """What is needed to write for one site; made once by a runner."""

    key: SiteKey
    texts: Texts
    site: str  # the host name that this site gives as its own
    site_owner: str
    per_day: int
    staff_per_day: int
    is_ours: Callable[[str], bool]  # does this address route back to us?

    def desk(self, mailing_list: MailingList | None, suffixes: Suffixes, language: str = "") -> Desk:
        """Return what letters of one list are written with; None: the site itself writes."""
        return Desk(
            texts=self.texts,
            suffixes=suffixes,
            site=self.site,
            site_owner=self.site_owner,
            mailing_list=mailing_list,
            language=language,
        )


async def open_office(site: "Site") -> Office:
    """Make the office of a site, in a runner's `open`; raises StoreAway, and BadSecret when the site key cannot be used."""
    directory = await site.lists.refresh()
    notices = site.settings.notices
    return Office(
        key=await asyncio.to_thread(load_site_key, site.settings),
        texts=Texts(Path(notices.templates) if notices.templates else None, notices.language),
        site=site.settings.site.name,
        site_owner=site.settings.site.owner,
        per_day=notices.per_day,
        staff_per_day=notices.staff_per_day,
        is_ours=directory.is_ours,
    )


class Written(Struct, frozen=True):
    """What came of the letters: for the Decision, and for the log when it is stored."""

    changes: tuple[Change, ...] = ()
    outputs: tuple[Output, ...] = ()
    verdicts: tuple[Permit | Denial, ...] = ()

    def tell(self, log: structlog.typing.FilteringBoundLogger) -> None:
        """Log what passed the gate and what did not; after the transaction."""
        for verdict in self.verdicts:
            if isinstance(verdict, Permit):
                log.info("notice.written", kind=verdict.kind.text, recipient=verdict.address)
            else:
                log.warning(
                    "notice.denied", kind=verdict.kind.text, recipient=verdict.address, reason=verdict.reason
                )


def write_letters(
    letters: Sequence[Letter],
    roster: Roster,
    desk: Desk,
    office: Office,
    item: Item,
    now: datetime,
    *,
    cause: Cause | None = None,
) -> Written:
    """Write those letters that may be written, each paid from its address's budget as this transaction sees it.

    `cause` is the mail that asks for them, None for a command or a timer. Raises KeyError and BadTemplate as write_notice does.
    """
    now_ms = int(now.timestamp() * 1000)
    spent: dict[str, Spent] = {}
    outputs: list[Output] = []
    verdicts: list[Permit | Denial] = []

    def ask(letter: Letter, address: str) -> Permit | Denial:
        key = budget_key(office.key, address, letter.kind)
        verdict = judge(
            letter.kind,
            address,
            spent.get(key) or roster.spent(key),
            now_ms,
            cause=cause,
            is_ours=office.is_ours(address),
            per_day=office.per_day,
            staff_per_day=office.staff_per_day,
        )
        if isinstance(verdict, Permit):
            spent[key] = verdict.spent
        return verdict

    for letter in letters:
        asked = [ask(letter, address) for address in (letter.address, *letter.others)]
        verdicts += asked
        permits = [verdict for verdict in asked if isinstance(verdict, Permit)]
        for language, readers in _by_language(permits, roster, desk).items():
            outputs.append(_write(letter, readers, replace(desk, language=language), item, now))
    changes = tuple(SpendBudget(key, paid) for key, paid in spent.items())
    return Written(changes, tuple(outputs), tuple(verdicts))


def _by_language(permits: Sequence[Permit], roster: Roster, desk: Desk) -> dict[str, list[Permit]]:
    """Sort readers by the language that they get; MAX_LANGUAGES of them, the list's for all who come later."""
    readers: dict[str, list[Permit]] = {}
    for permit in permits:
        language = _language_of(permit.address, roster, desk.mailing_list)
        if language not in readers and len(readers) >= MAX_LANGUAGES - 1:
            language = desk.mailing_list.settings.preferred_language if desk.mailing_list else ""
        readers.setdefault(language, []).append(permit)
    return readers


def _language_of(address: str, roster: Roster, mailing_list: MailingList | None) -> str:
    """Return the language that a reader wants: what they said as a member, else the list's, else "", the site's."""
    if mailing_list is None:
        return ""
    roles = roster.roles(mailing_list.list_id, address)
    own = (each.language for each in roles if each.language)
    return next(own, mailing_list.settings.preferred_language)


def _write(letter: Letter, permits: Sequence[Permit], desk: Desk, item: Item, now: datetime) -> Output:
    return write_notice(
        permits,
        letter.template,
        desk,
        item,
        now,
        values=letter.values,
        sender=letter.sender,
        subject_tail=letter.subject_tail,
        reverse_path=letter.reverse_path,
    )
