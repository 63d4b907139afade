"""Bounces: what came back to LIST-bounces@ is read, counted for the member whom it concerns, and acted on by rule.

Whose bounce it is says the recipient first: a VERP token that verifies, a probe's token; then Mailman's unsigned VERP, until the configured day. What came back
to a signed token is that member's failure even where nothing in it can be read. Only without any token the report itself is believed, and only for
addresses that are members, and not where each post leaves with a token of its own: whoever forges it can bring about a probe, which
does not come back. What outgoing reports says so in the args of its item, which no mail from outside has: there a refusal is a fact, and what
our MTA put off until its time was over (4.4.7) is kept as evidence and told to the owners once a day, but scores nothing. Time-driven steps are items from timekeeping.py. Never answers anybody but members and owners, through the gate.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from msgspec import Struct

from bus.client import publish_now
from bus.messages import Item
from config.names import BOUNCES, OWNER, ListId, id_about
from lists.address import list_address
from lists.bounces.failure import Failure, Report
from lists.bounces.reading import read_report
from lists.bounces.verp_forms import unsigned_verp
from lists.changes import LiftFreeze, UseToken
from lists.mailbox import address_key
from lists.model import Member
from lists.policy import Taken
from lists.records import Origin, OriginKind
from lists.roster import Roster
from lists.tokens import is_genuine, is_old_form, read_verp, token_hash
from runners.bounce_case import Case
from runners.deciding import Draft, Work, decide_once
from runners.letters import open_office
from runners.outcome import Ack, Outcome, Output, Shunt
from runners.owner import PASSED_ON
from runners.phrases import Value
from runners.placing import read_args
from runners.results import is_our_report
from runners.runner import Runner
from runners.site import Current, Decision
from runners.timekeeping import LOOK_S, NOTHING, Timekeeper, drop_due, packed, time_of

EXPIRED: Final = "4.4.7"  # delivery time expired (RFC 3463 3.5), as outgoing reports it
UNDELIVERED: Final = "undelivered"  # what a day's sum is due as
SUM_AFTER: Final = timedelta(minutes=10)  # after midnight UTC: what was still in hand then is in
MAX_SHOWN: Final = 20  # addresses in a sum; bin/postroom members show has the rest
VERP_DAYS: Final = (
    14  # how long a post's bounces are believed: MTAs give up after 5 days, and some send the last one late
)
IN_THREAD: Final = 64 * 1024  # octets of a report from which reading takes too long for the loop


class Addressed(Struct, frozen=True):
    """Whom the recipient of a bounce names."""

    member: Member | None = None
    by: str = ""  # verp, probe, old-verp; "": the recipient has no token, or one that names nobody
    token: str = ""  # the probe's hash, to be used up


class Bounces(Runner):
    """The queue bounces."""

    slots = 8
    run = 32
    tick_s = LOOK_S

    async def open(self) -> None:
        """Read lists and key."""
        self._office = await open_office(self.site)
        self._timekeeper = Timekeeper(self.site, BOUNCES, ("bounce", "freeze"))

    async def tick(self) -> None:
        """Publish the steps that are due."""
        await self._timekeeper.look()

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Read one bounce, or take one step that is due."""
        args = read_args(item)
        if args.get("due") == "freeze":
            return await self._thaw(item, int(args["key"]))
        is_own = is_our_report(args)
        current = await self.site.lists.current(item.list_id)
        if current is None and "due" in args:
            return drop_due(self.site, item)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        if args.get("due") == "bounce":
            return await self._take_due(item, current, int(args["key"]))
        if args.get("due") == UNDELIVERED:
            return await self._sum_up(item, current, date.fromisoformat(args["key"]))
        report = await self._read(content, item.reverse_path)
        expired = [failure for failure in report.failures if is_own and failure.status == EXPIRED]
        if expired:
            return await self._note_expired(item, current, expired)
        if not current.mailing_list.settings.process_bounces:
            return self._ignore(item, "process_bounces is off")
        token = self._token_of(item, current)
        if report.kind in ("failure", "complaint") or (
            report.failures and self._is_signed(item.list_id, token)
        ):
            return await self._count(item, current, report, token)
        if report.kind in ("automatic", "unreadable"):
            return self._ignore(item, f"{report.kind}: {report.reason}")
        return self._pass_on(item, current)

    async def _read(self, content: bytes, reverse_path: str) -> Report:
        if len(content) < IN_THREAD:
            return read_report(content, reverse_path)
        return await asyncio.to_thread(read_report, content, reverse_path)

    def _ignore(self, item: Item, why: str) -> Ack:
        self.site.log.info("bounce.ignored", recipient=item.recipient, message_id=item.message_id, why=why)
        return Ack(reason=f"ignored: {why}")

    def _pass_on(self, item: Item, current: Current) -> Ack:
        """What cannot be read is for the owners, if they want it."""
        if not current.mailing_list.settings.forward_unrecognized_bounces:
            return self._ignore(item, "no bounce that can be read")
        owner = list_address(current.mailing_list, "owner", suffixes=current.suffixes)
        return Ack(
            outputs=[Output(OWNER, recipient=owner, reverse_path="", args={PASSED_ON: True})],
            reason="not recognized: to the owners",
        )

    # Counting ---------------------------------------------------------------------------------------------------------

    async def _count(self, item: Item, current: Current, report: Report, token: str | None) -> Outcome:
        always_verp = current.mailing_list.settings.verp_delivery_interval == 1
        needs_token = always_verp and not is_our_report(read_args(item))

        def work(draft: Draft) -> None:
            self._judge(draft, report, token, needs_token=needs_token)

        return await self._decide(item, current, work, "bounce")

    def _judge(self, draft: Draft, report: Report, token: str | None, *, needs_token: bool) -> None:
        """Find the members whom a report concerns, and count for each."""
        case, roster, list_id = Case(draft), draft.roster, draft.list_id
        addressed = self._find_addressed(roster, list_id, token)
        if report.kind == "complaint":
            return self._complain(case, roster, list_id, report, addressed)
        permanent = [failure for failure in report.failures if failure.is_permanent]
        if addressed.member is not None:
            if permanent and addressed.by == "probe":
                draft.changes.append(UseToken(addressed.token))
                return case.probe_failed(addressed.member)
            if permanent:
                case.failed([(addressed.member, _failure_of(addressed.member, permanent))])
            return None
        if token is not None:  # one that names nobody: forged, too old, empty, or of somebody who has left
            return draft.note("bounce.ignored", why="the token of the recipient is nobody's")
        if needs_token:
            return draft.note(
                "bounce.ignored", why="every post of this list has a token, this report has none"
            )
        named = ((_find_member(roster, list_id, failure.addresses), failure) for failure in permanent)
        case.failed([(member, failure) for member, failure in named if member is not None])
        if not draft.notes:
            draft.note("bounce.ignored", why="no member has failed for good")
        return None

    def _complain(
        self, case: Case, roster: Roster, list_id: ListId, report: Report, addressed: Addressed
    ) -> None:
        member, is_signed = addressed.member, addressed.by == "verp"
        if member is None and report.original_from:
            original = self._verp_member(roster, list_id, report.original_from)
            member, is_signed = original, original is not None
        if member is None:
            member = _find_member(roster, list_id, report.complained)
        if member is not None:
            case.complained(member, is_signed=is_signed)

    # Put off until its time was over ----------------------------------------------------------------------------------

    async def _note_expired(self, item: Item, current: Current, expired: Sequence[Failure]) -> Outcome:
        """Keep the evidence, and see to it that the owners hear of this day."""
        day = self._today()
        await self._publish_sum(item.list_id, day)

        def work(draft: Draft) -> None:
            case = Case(draft)
            for failure in expired:
                member = _find_member(draft.roster, item.list_id, failure.addresses)
                if member is not None:
                    case.expired(member, failure, day)

        return await self._decide(item, current, work, "bounce")

    async def _publish_sum(self, list_id: ListId, day: date) -> None:
        """Have the day summed up when it is over. The item waits in the journal all day, so that it is there once, whoever publishes it again."""
        item_id = id_about(f"{UNDELIVERED}:{list_id}:{day}")
        ends = datetime.combine(day + timedelta(days=1), time(), UTC) + SUM_AFTER
        item = Item(
            id=item_id,
            root_id=item_id,
            queue=BOUNCES,
            list_id=list_id,
            reverse_path="",
            accepted_at=self.site.clock.now(),
            args={"due": packed(UNDELIVERED), "key": packed(day.isoformat())},
            due_at=ends,
        )
        await asyncio.to_thread(publish_now, self.site.settings, (item,), NOTHING, released=True)

    async def _sum_up(self, item: Item, current: Current, day: date) -> Outcome:
        """Tell the owners of all who did not get a mail because its time was over."""

        def work(draft: Draft) -> None:
            found = draft.roster.expired_on(item.list_id, day)
            if found:
                shown = "\n".join(f"    {address}" for address in found[:MAX_SHOWN])
                more = len(found) - MAX_SHOWN
                values: dict[str, Value] = {
                    "day": day,
                    "count": str(len(found)),
                    "members": f"{shown}\n    ... (+{more})" if more > 0 else shown,
                }
                draft.tell_owners("owner-undelivered", values)
            draft.note("bounce.stepped", step=UNDELIVERED, count=len(found))

        return await self._decide(item, current, work, "timer")

    # Whose it is ------------------------------------------------------------------------------------------------------

    def _token_of(self, item: Item, current: Current) -> str | None:
        """Return what stands behind the delimiter, None where there is no delimiter."""
        taken = current.directory.judge("", item.recipient)
        if not isinstance(taken, Taken):
            return None
        local = taken.destination.address.rpartition("@")[0]
        return taken.destination.token or ("" if local.endswith(current.suffixes.delimiter) else None)

    def _is_signed(self, list_id: ListId, token: str | None) -> bool:
        """Did we make this token, for a probe or a post of late? Nothing is looked up."""
        if not token:
            return False
        key = self._office.key
        is_verp = read_verp(key, list_id, token, self._today(), VERP_DAYS) is not None
        return is_verp or is_genuine(key, "probe", list_id, token)

    def _find_addressed(self, roster: Roster, list_id: ListId, token: str | None) -> Addressed:
        """Look up what stands behind the delimiter of the recipient."""
        if not token:
            return Addressed()
        key = self._office.key
        if is_genuine(key, "probe", list_id, token) or (is_old_form(token) and self._takes_old_forms()):
            return self._find_probe(roster, list_id, token)
        verp = read_verp(key, list_id, token, self._today(), VERP_DAYS)
        if verp is not None:
            found = roster.member_by_id(verp.membership_id)
            is_here = found is not None and found[0] == list_id
            return Addressed(found[1], "verp") if found and is_here else Addressed()
        if self._takes_old_forms():
            return Addressed(_find_member(roster, list_id, unsigned_verp(token)), "old-verp")
        return Addressed()

    def _find_probe(self, roster: Roster, list_id: ListId, token: str) -> Addressed:
        found = roster.token(token_hash(token))
        if found is None or found.purpose != "probe" or found.list_id != list_id:
            return Addressed()
        if not found.is_open(
            self.site.clock.now()
        ):  # used, or its time is over: the probe of then says nothing of now
            return Addressed()
        return Addressed(roster.member(list_id, found.address), "probe", found.hash)

    def _verp_member(self, roster: Roster, list_id: ListId, reverse_path: str) -> Member | None:
        token = reverse_path.rpartition("@")[0].partition(self.site.settings.site.delimiter)[2]
        addressed = self._find_addressed(roster, list_id, token)
        return addressed.member if addressed.by == "verp" else None

    def _takes_old_forms(self) -> bool:
        until = self.site.settings.lists.mailman_tokens_until
        return bool(until) and self._today() <= date.fromisoformat(until)

    def _today(self) -> date:
        return self.site.clock.now().date()

    # Time -------------------------------------------------------------------------------------------------------------

    async def _take_due(self, item: Item, current: Current, membership_id: int) -> Outcome:
        def work(draft: Draft) -> None:
            found = draft.roster.member_by_id(membership_id)
            if found is not None and found[0] == item.list_id:
                Case(draft).due(found[1])

        return await self._decide(item, current, work, "timer")

    async def _thaw(self, item: Item, number: int) -> Outcome:
        """End a freeze; one that was renewed meanwhile goes on."""
        now = time_of(item, self.site.clock)

        def decide(roster: Roster) -> Decision:
            over = [each for each in roster.freezes(item.list_id) if each.id == number and each.until <= now]
            return Decision(
                Ack(reason="thawed"), tuple(LiftFreeze(each.id) for each in over), Origin(kind="timer")
            )

        return await self.site.store.apply_once(item.id, decide)

    async def _decide(self, item: Item, current: Current, work: Work, kind: OriginKind) -> Outcome:
        return await decide_once(self.site, self._office, item, current, work, Origin(kind=kind))


def _find_member(roster: Roster, list_id: ListId, addresses: Sequence[str]) -> Member | None:
    """Return the first of these addresses that is a member."""
    found = (roster.member(list_id, address) for address in addresses)
    return next((member for member in found if member is not None), None)


def _failure_of(member: Member, failures: Sequence[Failure]) -> Failure:
    """Return the failure that names a member; a report for one recipient is about that one, whatever address it was sent on to."""
    keys = ((failure, {address_key(address) for address in failure.addresses}) for failure in failures)
    return next((failure for failure, named in keys if member.key in named), failures[0])
