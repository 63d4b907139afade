"""What one bounce, or one step that is due, does to the members whom it concerns: changes, letters and lines for the log. Pure.

Reads the roster of the transaction that takes the changes. What a mail says is lists/bounces/reading.py's, what a score leads to scoring.py's table,
when many failures are one incident brake.py's; here they meet the store.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from msgspec.structs import replace

from lists.bounces import brake
from lists.bounces.failure import Failure
from lists.bounces.scoring import Effect, Event, Rules, State, due_event, next_step, score_event
from lists.changes import (
    AddBounce,
    DisableMember,
    FreezeScoring,
    LeaveMember,
    MakeToken,
    ResetScore,
    SetDelivery,
    SetScore,
)
from lists.gate import Kind
from lists.model import MailingList, Member
from lists.records import BounceRecord, Evidence
from lists.tokens import make_token, token_hash
from runners.deciding import Draft
from runners.letters import Letter
from runners.phrases import Phrase, Value

ENABLE: Final = "enable"  # what a confirmation token is about that turns delivery on again

STEP_LETTERS: Final = 2  # of one member's step at most: to the member, and to the owners

_REASONS: Final[Mapping[str, Phrase]] = {
    "bad-mailbox": Phrase("this address is not known there"),
    "full": Phrase("the mailbox is full"),
    "policy": Phrase("the mail was refused, for what it is or where it comes from"),
    "complaint": Phrase("a post was called spam"),
    "other": Phrase("delivery failed, without a clear reason"),
}


def rules_of(mailing_list: MailingList) -> Rules:
    """Return a list's own numbers."""
    settings = mailing_list.settings
    return Rules(
        threshold=settings.bounce_score_threshold,
        stale_after_days=settings.bounce_info_stale_after,
        probes=settings.bounce_probes,
        warnings=settings.bounce_you_are_disabled_warnings,
        warning_interval_days=settings.bounce_you_are_disabled_warnings_interval,
    )


class Case:
    """The bounces of one decision."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._now = draft.setting.now
        self._rules = rules_of(draft.setting.mailing_list)
        self._list_id = draft.list_id
        self._failing: dict[str, Failure] = {}  # by the key of the member
        self._topics: dict[brake.Topic, list[Member]] = {}
        self._frozen: set[str] = set()

    # What comes in ----------------------------------------------------------------------------------------------------

    def failed(self, failures: Sequence[tuple[Member, Failure]]) -> None:
        """Permanent failures of members, each counted once: evidence of all, then the brake, then the score of each.

        One report may name everybody whom a provider refuses: the brake sees all of them before the first one scores.
        """
        for member, failure in failures:
            if member.key in self._failing:
                continue
            self._failing[member.key] = failure
            self._draft.changes.append(
                AddBounce(self._list_id, member.address, self._evidence(member, failure))
            )
            for topic in brake.topics_of(member.address, failure):
                self._topics.setdefault(topic, []).append(member)
        self._brake()
        for member in {member.key: member for member, _ in failures}.values():
            self._judge(member, self._failing[member.key])

    def _evidence(self, member: Member, failure: Failure) -> Evidence:
        return Evidence(
            day=self._now.astimezone(UTC).date(),
            bounce_class=failure.bounce_class,
            status=failure.status,
            diagnostic=failure.diagnostic,
            same_words=_same_words(member.address, failure),
        )

    def _judge(self, member: Member, failure: Failure) -> None:
        if not member.delivery and member.delivery_status != "by_bounces":
            return self._note(member, failure, "no posts go there")  # a late bounce of an earlier post
        if any(topic.name in self._frozen for topic in brake.topics_of(member.address, failure)):
            return self._note(member, failure, "frozen")
        if not self._draft.has_room(STEP_LETTERS):
            return self._note(member, failure, "too many at once")  # counted by their next bounce
        return self._score(member, failure)

    def expired(self, member: Member, failure: Failure, day: date) -> None:
        """Our MTA put a mail off until its time was over: evidence of that day, but no score, for 4.x.x alone is never permanent."""
        evidence = Evidence(
            day=day,
            bounce_class=failure.bounce_class,
            status=failure.status,
            diagnostic=failure.diagnostic,
        )
        self._draft.changes.append(AddBounce(self._list_id, member.address, evidence))
        self._note(member, failure, "put off until its time was over")

    def probe_failed(self, member: Member) -> None:
        """The probe came back."""
        record = self._draft.roster.bounces(self._list_id, member.address)
        self._step(member, record, Event.PROBE_FAILED)

    def complained(self, member: Member, *, is_signed: bool) -> None:
        """A provider says that the member called a post spam: nothing more is sent there if our own token says whose it was."""
        day = self._now.astimezone(UTC).date()
        self._draft.changes.append(
            AddBounce(self._list_id, member.address, Evidence(day=day, bounce_class="complaint"))
        )
        consequence = Phrase("Nothing was changed: the report does not prove whose copy it was.")
        if is_signed and member.delivery:
            self._draft.changes.append(SetDelivery(self._list_id, member.address, "by_bounces"))
            consequence = Phrase("No more posts are sent there until the member or an owner says so.")
        known = self._draft.roster.evidence(self._list_id, member.address)
        if not any(each.bounce_class == "complaint" and each.day == day for each in known):  # once a day
            self._draft.tell_owners("owner-complaint", {"member": member.address, "consequence": consequence})
        self._note(member, Failure((), bounce_class="other"), "complaint")

    def due(self, member: Member) -> bool:
        """Take the step that is due; False: there is none, it was taken or has become needless."""
        record = self._draft.roster.bounces(self._list_id, member.address)
        if record.due_at is None or record.due_at > self._now:
            return False
        event = Event.PROBE_ENDED
        if record.state is not State.PROBING:
            event = due_event(record.warnings_sent, self._rules)
        return self._step(member, record, event)

    # The brake --------------------------------------------------------------------------------------------------------

    def _brake(self) -> None:
        """Freeze what fails for many members at once; the first report that sees it tells the owners."""
        freezes = self._draft.roster.freezes(self._list_id)
        going_on = {each.topic: each.since for each in freezes if each.until > self._now}
        told = {each.topic for each in freezes if each.topic in going_on and each.told_at is not None}
        worn_out = {topic for topic, since in going_on.items() if self._now - since > brake.LONGEST}
        self._frozen.update(going_on.keys() - worn_out)
        for topic, failing in self._topics.items():
            count = self._count(topic, failing)
            if count >= brake.MIN_MEMBERS and brake.is_incident(
                topic, count, self._members(topic, failing[0])
            ):
                failure = self._failing[failing[0].key]
                self._freeze(topic, count, failure, tells=topic.name not in told and self._draft.has_room(1))
                if topic.name not in worn_out:
                    self._frozen.add(topic.name)

    def _count(self, topic: brake.Topic, failing: Sequence[Member]) -> int:
        """Count the members who failed so within the window, those of this decision included."""
        since = self._now - brake.WINDOW
        count = self._draft.roster.count_bounced(self._list_id, since, topic)
        if len(failing) >= brake.ALWAYS_MEMBERS:
            return max(count, len(failing))
        return count + sum(not self._has_bounced(member, since) for member in failing)

    def _has_bounced(self, member: Member, since: datetime) -> bool:
        newest = self._draft.roster.evidence(self._list_id, member.address, limit=5)
        return any(each.at is not None and each.at >= since for each in newest)

    def _members(self, topic: brake.Topic, member: Member) -> int:
        domain = member.key.rpartition("@")[2]
        return 0 if topic.is_text else self._draft.roster.count_members_at(self._list_id, domain)

    def _freeze(self, topic: brake.Topic, count: int, failure: Failure, *, tells: bool) -> None:
        """Freeze, or freeze longer; `tells` the owners: of one report that freezes very many domains, the next report of each tells."""
        until = self._now + brake.FREEZE
        self._draft.changes.append(
            FreezeScoring(list_id=self._list_id, topic=topic.name, until=until, told=tells)
        )
        if tells:
            what: Value = (
                Phrase("refusals in the same words") if topic.is_text else topic.name.partition(":")[2]
            )
            values: dict[str, Value] = {
                "what": what,
                "count": str(count),
                "until": until,
                "reason": _reason(failure),
            }
            self._draft.tell_owners("owner-bounce-frozen", values)
            self._draft.note("bounce.stepped", step="frozen", topic=topic.name, count=count)

    # Score and steps --------------------------------------------------------------------------------------------------

    def _score(self, member: Member, failure: Failure) -> None:
        rules, day = self._rules, self._now.astimezone(UTC).date()
        record = self._draft.roster.bounces(self._list_id, member.address)
        score = record.score.after(failure.bounce_class, day, rules)
        if score == record.score:
            return self._note(member, failure, "counted today already")
        event = score_event(record.state, score, day, rules)
        counts = {**record.counts, failure.bounce_class: record.counts.get(failure.bounce_class, 0) + 1}
        counted = replace(record, score=score, counts=counts)
        self._note(member, failure, "counted", score=score.value)
        self._step(member, counted, event, failure)
        return None

    def _step(
        self, member: Member, record: BounceRecord, event: Event, failure: Failure | None = None
    ) -> bool:
        """Take the row of the table; False: nothing follows."""
        step = next_step(record.state, event, self._rules)
        record = replace(record, state=step.state)
        reason = _reason(failure) if failure else self._last_reason(member)
        for effect in step.effects:
            record = self._perform(effect, member, record, reason)
        if Effect.COUNT in step.effects and not {Effect.PROBE, Effect.DISABLE} & set(step.effects):
            self._draft.changes.append(SetScore(self._list_id, member.address, record))
        if set(step.effects) - {Effect.COUNT}:
            names = " ".join(effect.name.lower() for effect in step.effects)
            self._draft.note("bounce.stepped", step=names, member=member.address)
        return bool(step.effects)

    def _perform(self, effect: Effect, member: Member, record: BounceRecord, reason: Phrase) -> BounceRecord:
        match effect:
            case Effect.RESET:
                self._draft.changes.append(ResetScore(self._list_id, member.address))
                return BounceRecord()
            case Effect.PROBE:
                return self._probe(member, record)
            case Effect.DISABLE:
                return record
            case Effect.WARN:
                return self._warn(member, record, reason)
            case Effect.REMOVE:
                self._draft.changes.append(LeaveMember(self._list_id, member.address))
            case Effect.TELL_REMOVED:
                self._draft.letters.append(
                    _letter(Kind.REMOVED, member, "bounce-removed", {"reason": reason})
                )
            case Effect.TELL_OWNERS:
                self._tell_of(member, record, reason)
            case Effect.ENABLE:
                self._draft.changes.append(SetDelivery(self._list_id, member.address, "enabled"))
            case Effect.COUNT:
                pass
        return record

    def _probe(self, member: Member, record: BounceRecord) -> BounceRecord:
        """Send a mail whose return says that the address does not work: its reverse-path is a token of one use."""
        ends = self._now + timedelta(days=self._rules.probe_days)
        token = self._token("probe", member, ends, about="probe")
        reverse_path = self._draft.setting.address("bounce", token)
        self._draft.letters.append(_letter(Kind.PROBE, member, "probe", {}, reverse_path=reverse_path))
        probing = replace(record, probed_at=self._now, due_at=ends)
        self._draft.changes.append(SetScore(self._list_id, member.address, probing))
        return probing

    def _warn(self, member: Member, record: BounceRecord, reason: Phrase) -> BounceRecord:
        """Tell the member how to get posts again, as often as the list wants, and say when the next step is due."""
        rules, now = self._rules, self._now
        is_first = member.delivery
        sent = (0 if is_first else record.warnings_sent) + 1
        wants_warning = rules.warnings > 0
        interval = timedelta(days=rules.warning_interval_days)
        removal = now + interval * max(1, rules.warnings - sent + 1)
        if wants_warning:
            token = self._token("confirm", member, removal, about=ENABLE)
            address = self._draft.setting.address("confirm", token)
            values: dict[str, Value] = {"reason": reason, "removal": removal, "confirm_address": address}
            self._draft.letters.append(
                _letter(
                    Kind.WARNING,
                    member,
                    "bounce-warning",
                    values,
                    sender=address,
                    subject_tail=f"confirm {token}",
                )
            )
        warned = replace(
            record,
            warnings_sent=sent if wants_warning else 0,
            probed_at=None,
            due_at=now + interval,
        )
        kind = DisableMember if is_first else SetScore
        self._draft.changes.append(kind(self._list_id, member.address, warned))
        return warned

    def _tell_of(self, member: Member, record: BounceRecord, reason: Phrase) -> None:
        """Tell the owners that a member was disabled, or removed, where the list wants it."""
        settings = self._draft.setting.mailing_list.settings
        rules = self._rules
        values: dict[str, Value] = {
            "member": member.address,
            "reason": reason,
            "warnings": str(record.warnings_sent),
        }
        if member.delivery and settings.bounce_notify_owner_on_disable:
            removal = self._now + timedelta(days=rules.warning_interval_days * max(1, rules.warnings))
            self._draft.tell_owners("owner-bounce-disabled", {**values, "removal": removal})
        if not member.delivery and settings.bounce_notify_owner_on_removal:
            self._draft.tell_owners("owner-bounce-removed", values)

    # Words ------------------------------------------------------------------------------------------------------------

    def _token(self, kind: Any, member: Member, expires_at: datetime, about: str) -> str:
        setting = self._draft.setting
        token = make_token(setting.key, kind, setting.item.id, self._list_id, member.address)
        self._draft.changes.append(
            MakeToken(
                hash=token_hash(token),
                purpose=kind,
                list_id=self._list_id,
                address=member.address,
                expires_at=expires_at,
                about=about,
            )
        )
        return token

    def _last_reason(self, member: Member) -> Phrase:
        newest = self._draft.roster.evidence(self._list_id, member.address, limit=1)
        return _words(newest[0].bounce_class, newest[0].status) if newest else Phrase("(not known)")

    def _note(self, member: Member, failure: Failure, why: str, **more: Any) -> None:
        told = {
            "member": member.address,
            "status": failure.status,
            "bounce_class": failure.bounce_class,
            "why": why,
        }
        self._draft.note("bounce.scored", **told, **more)


def _same_words(address: str, failure: Failure) -> str:
    """Return the words of a refusal that may be about all of us; "" for one that is about its mailbox."""
    return (
        brake.same_words(failure) if any(topic.is_text for topic in brake.topics_of(address, failure)) else ""
    )


def _reason(failure: Failure) -> Phrase:
    return _words(failure.bounce_class, failure.status)


def _words(bounce_class: str, status: str) -> Phrase:
    """Say a reason in words of ours: what the other side wrote may be a stranger's text, and does not travel in our name."""
    words = _REASONS[bounce_class]
    return Phrase("$reason ($status)", {"reason": words, "status": status}) if status else words


def _letter(kind: Kind, member: Member, template: str, values: Mapping[str, Value], **more: Any) -> Letter:
    return Letter(kind=kind, address=member.address, template=template, values=values, **more)
