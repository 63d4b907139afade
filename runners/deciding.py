"""One decision of a runner about members: what changes, what is written, what the log is told, as one transaction of the list store.

A handler gives `decide_once` its work: a function that reads the roster and fills a Draft. Letters pass the gate, everything is stored together with
the outcome, and the log hears of it when that is durable. The work may be called again (another lease, a busy store), so it holds no state.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec import Struct

from bus.messages import MAX_OUTPUTS, Item
from lists.address import Suffixes, list_address
from lists.changes import Change
from lists.gate import Cause, Kind
from lists.model import MailingList
from lists.records import Origin
from lists.roster import Roster
from lists.tokens import SiteKey
from runners.letters import MAX_LANGUAGES, Letter, Office, Written, write_letters
from runners.outcome import Ack, Outcome, Output
from runners.phrases import Value
from runners.site import Current, Decision, Site
from runners.timekeeping import time_of


class Setting(Struct, frozen=True, kw_only=True):
    """What does not change within one decision."""

    mailing_list: MailingList
    suffixes: Suffixes
    key: SiteKey
    item: Item
    now: datetime

    def address(self, purpose: str, token: str = "") -> str:
        """Return an address of the list."""
        return list_address(self.mailing_list, purpose, token, self.suffixes)


class Draft:
    """A decision in the making."""

    def __init__(self, setting: Setting, roster: Roster) -> None:
        self.setting = setting
        self.roster = roster
        self.list_id = setting.mailing_list.list_id
        self.changes: list[Change] = []
        self.letters: list[Letter] = []
        self.outputs: list[Output] = []
        self.held = False  # the item becomes a held post
        self.notes: list[tuple[str, dict[str, Any]]] = []  # event and facts

    @property
    def summary(self) -> str:
        """Say in a few words what was decided."""
        words = [str(facts.get("step") or facts.get("why", "")) for _, facts in self.notes]
        return "; ".join(dict.fromkeys(words))[:200] or "nothing to do"

    def note(self, event: str, **facts: Any) -> None:
        """Say what the log is told; `why` or `step` is the short form."""
        self.notes.append((event, facts))

    def write(
        self, kind: Kind, address: str, template: str, values: Mapping[str, Value] | None = None, **more: Any
    ) -> None:
        """Ask for a letter."""
        self.letters.append(
            Letter(kind=kind, address=address, template=template, values=values or {}, **more)
        )

    def write_all(
        self,
        kind: Kind,
        addresses: Sequence[str],
        template: str,
        values: Mapping[str, Value],
        **more: Any,
    ) -> None:
        """Ask for one letter to owners or moderators, however many they are."""
        if addresses:
            first, *others = addresses
            self.letters.append(
                Letter(
                    kind=kind, address=first, others=tuple(others), template=template, values=values, **more
                )
            )

    def tell_owners(self, template: str, values: Mapping[str, Value]) -> None:
        """Ask for a letter to the owners."""
        self.write_all(Kind.REPORT, self.roster.owners(self.list_id), template, values)

    def has_room(self, letters: int) -> bool:
        """May so many letters more be asked for, even if each goes to all owners?"""
        most = sum(letter.most_outputs for letter in self.letters) + letters * MAX_LANGUAGES
        return len(self.outputs) + most <= MAX_OUTPUTS


Work = Callable[[Draft], None]


async def decide_once(
    site: Site,
    office: Office,
    item: Item,
    current: Current,
    work: Work,
    origin: Origin,
    cause: Cause | None = None,
) -> Outcome:
    """Let `work` fill a draft inside the item's one transaction, and return the stored outcome; raises StoreAway.

    `cause` is the mail that asks for letters, None for a timer or a command; `origin` is remembered beside every change, its `why` as
    the draft's summary where it has none.
    """
    told: list[tuple[Draft, Written]] = []

    def decide(roster: Roster) -> Decision:
        mailing_list, now = current.mailing_list, time_of(item, site.clock)
        setting = Setting(
            mailing_list=mailing_list, suffixes=current.suffixes, key=office.key, item=item, now=now
        )
        draft = Draft(setting, roster)
        work(draft)
        desk = office.desk(mailing_list, current.suffixes)
        written = write_letters(draft.letters, roster, desk, office, item, now, cause=cause)
        told[:] = [(draft, written)]
        return Decision(
            Ack(outputs=(*draft.outputs, *written.outputs), held=draft.held, reason=draft.summary),
            (*draft.changes, *written.changes),
            Origin(kind=origin.kind, who=origin.who, why=origin.why or draft.summary),
        )

    outcome = await site.store.apply_once(item.id, decide)
    for draft, written in told:
        for event, facts in draft.notes:
            site.log.info(event, recipient=item.recipient, **facts)
        written.tell(site.log)
    return outcome
