"""Joining and leaving inside one decision: the table of lists/subscription.py meets the store, tokens and letters. Pure.

What the runners membership, confirm and request, and `bin/postroom members approve|refuse`, do about a request all comes through `Subscribing`. Everything that
says whether an address is a member goes to that address alone: who asks for another's address learns nothing.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from lists.changes import (
    CloseRequest,
    JoinMember,
    LeaveMember,
    MakeToken,
    OpenRequest,
    UseToken,
)
from lists.gate import Kind
from lists.model import DeliveryMode, SubscriptionPolicy
from lists.records import Request, RequestKind, Token
from lists.subscription import Effect, Event, State, confirm_event, next_step, request_event
from lists.tokens import make_token, token_hash
from runners.deciding import Draft
from runners.phrases import Phrase, Value

MODERATOR_PATIENCE: Final = 10  # times request_days: moderators take holidays
APPROVE: Final = "approve"
REFUSE: Final = "refuse"
_N_APPROVE, _N_REFUSE = 1, 2  # tells the tokens of one request apart; the address's own is 0

_AGREED: Final = (Event.CONFIRMED, Event.CONFIRMED_FIRST, Event.APPROVED, Event.REQUESTED_OPEN)
_VERBS: Final[Mapping[RequestKind, Phrase]] = {"join": Phrase("join"), "leave": Phrase("leave")}
_RESULTS: Final = {
    Event.REFUSED: "refused",
    Event.WITHDRAWN: "withdrawn",
    Event.EXPIRED: "expired",
}


class Subscribing:
    """What happens to one address's wish to join or leave, in one decision."""

    def __init__(self, draft: Draft, kind: RequestKind, address: str, answer_to: str = "") -> None:
        """`answer_to`: who sent the mail, and hears when it comes too late; "" for a command or a timer."""
        self._draft = draft
        self._kind: RequestKind = kind
        self._address = _as_subscribed(draft, kind, address)
        self._answer_to = answer_to
        self._request = draft.roster.request(draft.list_id, self._address, kind)
        if self._request is not None and self._request.expires_at <= draft.setting.now:
            self._expire()

    def _expire(self) -> None:
        """End the request whose time is over but whose timer has not come yet: asking again must not send its dead token."""
        draft = self._draft
        draft.changes.append(
            CloseRequest(list_id=draft.list_id, address=self._address, kind=self._kind, result="expired")
        )
        self._request = None

    # Events -----------------------------------------------------------------------------------------------------------

    def ask(self, asked_by: str, *, is_sender: bool, options: Mapping[str, str] | None = None) -> None:
        """Somebody asks, in mail. `is_sender`: for the address that the mail comes from."""
        draft = self._draft
        member = draft.roster.member(draft.list_id, self._address)
        if (member is not None) == (self._kind == "join"):
            template = "already-member" if member else "not-member"
            draft.write(Kind.ANSWER, self._address, template)
            return self._note("nothing to do: " + template)
        if self._is_banned():
            return self._note("banned")
        event = request_event(self._policy, is_sender=is_sender)
        return self.take(event, asked_by=asked_by, options=options or {})

    def confirmed(self) -> None:
        """The address's own token came back."""
        self.take(confirm_event(self._policy))

    def take(self, event: Event, *, asked_by: str = "", options: Mapping[str, str] | None = None) -> None:
        """Do what the table says."""
        state = State(self._request.state) if self._request else State.NONE
        if self._request is not None and event in _AGREED and self._is_banned():
            event = Event.REFUSED  # banned since they asked
        step = next_step(state, event)
        wanted = dict(self._request.options if self._request else options or {})
        asker = self._request.asked_by if self._request else asked_by
        for effect in step.effects:
            self._perform(effect, event, step.state, asker, wanted)
        self._note(f"{self._kind}: {event.name.lower()}", state=step.state.value)

    def _is_banned(self) -> bool:
        return self._kind == "join" and self._draft.roster.is_banned(self._draft.list_id, self._address)

    # Effects ----------------------------------------------------------------------------------------------------------

    def _perform(
        self, effect: Effect, event: Event, state: State, asked_by: str, options: Mapping[str, str]
    ) -> None:
        draft = self._draft
        match effect:
            case Effect.OPEN | Effect.MOVE:
                draft.changes.append(
                    OpenRequest(
                        list_id=draft.list_id,
                        address=self._address,
                        kind=self._kind,
                        state=state.value,
                        asked_by=asked_by,
                        expires_at=draft.setting.now + self._patience(state),
                        options=options,
                    )
                )
            case Effect.CLOSE:
                draft.changes.append(
                    CloseRequest(
                        list_id=draft.list_id,
                        address=self._address,
                        kind=self._kind,
                        result=_RESULTS.get(event, "done"),
                    )
                )
            case Effect.ACT:
                self._act(options)
            case Effect.ASK_ADDRESS | Effect.ASK_AGAIN:
                self._ask_address()
            case Effect.ASK_MODERATORS:
                self._ask_moderators()
            case Effect.TELL_DONE:
                self._tell_done()
            case Effect.TELL_WAITING:
                draft.write(Kind.ANSWER, self._address, "request-waits", {"action": _VERBS[self._kind]})
            case Effect.TELL_REFUSED:
                draft.write(Kind.REFUSED, self._address, "request-refused", {"action": _VERBS[self._kind]})
            case Effect.TELL_TOO_LATE:
                if self._answer_to:
                    draft.write(Kind.ANSWER, self._answer_to, "token-unknown")

    def _act(self, options: Mapping[str, str]) -> None:
        draft = self._draft
        if self._kind == "leave":
            draft.changes.append(LeaveMember(draft.list_id, self._address))
            return
        draft.changes.append(
            JoinMember(
                draft.list_id,
                self._address,
                display_name=options.get("display_name", ""),
                language=options.get("language", ""),
                delivery_mode=_mode(options.get("delivery_mode", "")),
            )
        )

    def _ask_address(self) -> None:
        """Send the address its token; the request's own item makes it, so asking again sends the same."""
        draft, expires = self._draft, self._expires(State.CONFIRMING)
        token = self._token(0, self._kind)
        sender = draft.setting.address("confirm", token)
        values: dict[str, Value] = {"confirm_address": sender, "expires": expires}
        template = "confirm-join" if self._kind == "join" else "confirm-leave"
        draft.write(
            Kind.CONFIRM, self._address, template, values, sender=sender, subject_tail=f"confirm {token}"
        )

    def _ask_moderators(self) -> None:
        """Tell everybody who decides; the first answer counts."""
        draft = self._draft
        approve = self._token(_N_APPROVE, f"{APPROVE} {self._kind}")
        refuse = self._token(_N_REFUSE, f"{REFUSE} {self._kind}")
        sender = draft.setting.address("confirm", approve)
        values: dict[str, Value] = {
            "member": self._address,
            "action": _VERBS[self._kind],
            "approve_address": sender,
            "refuse_address": draft.setting.address("confirm", refuse),
            "expires": self._expires(State.MODERATING),
        }
        draft.write_all(
            Kind.REQUEST,
            draft.roster.addresses_of(draft.list_id, ("owner", "moderator")),
            "owner-request",
            values,
            sender=sender,
            subject_tail=f"confirm {approve}",
        )

    def _tell_done(self) -> None:
        draft = self._draft
        settings = draft.setting.mailing_list.settings
        joined = self._kind == "join"
        if joined and settings.send_welcome_message:
            draft.write(Kind.WELCOME, self._address, "welcome")
        if not joined and settings.send_goodbye_message:
            draft.write(Kind.GOODBYE, self._address, "goodbye")
        if settings.admin_notify_mchanges:
            draft.tell_owners("owner-joined" if joined else "owner-left", {"member": self._address})

    # Tokens and times -------------------------------------------------------------------------------------------------

    def _token(self, n: int, about: str) -> str:
        """Make a token of this request, and remember it unless it is remembered already."""
        draft = self._draft
        item_id = self._request.item_id if self._request and n == 0 else draft.setting.item.id
        token = make_token(draft.setting.key, "confirm", item_id, draft.list_id, self._address, n)
        hashed = token_hash(token)
        if draft.roster.token(hashed) is None:
            state = State.CONFIRMING if n == 0 else State.MODERATING
            draft.changes.append(
                MakeToken(
                    hash=hashed,
                    purpose="confirm",
                    list_id=draft.list_id,
                    address=self._address,
                    expires_at=self._expires(state),
                    about=about,
                )
            )
        return token

    def _expires(self, state: State) -> datetime:
        """Return when the request in this state ends: as it stands when it is there, else from now."""
        if self._request is not None and self._request.state == state.value:
            return self._request.expires_at
        return self._draft.setting.now + self._patience(state)

    def _patience(self, state: State) -> timedelta:
        days = self._draft.setting.mailing_list.settings.request_days
        return timedelta(days=days * (MODERATOR_PATIENCE if state is State.MODERATING else 1))

    @property
    def _policy(self) -> SubscriptionPolicy:
        settings = self._draft.setting.mailing_list.settings
        return settings.subscription_policy if self._kind == "join" else settings.unsubscription_policy

    def _note(self, why: str, **more: str) -> None:
        self._draft.note("member.requested", why=why, address=self._address, kind=self._kind, **more)


def use_token(draft: Draft, token: Token, answer_to: str) -> None:
    """Do what a good token of a request is about, and use it up."""
    draft.changes.append(UseToken(token.hash))
    verb, _, kind = token.about.rpartition(" ")
    subscribing = Subscribing(draft, _kind(kind), token.address, answer_to)
    match verb:
        case "":
            subscribing.confirmed()
        case "approve":
            subscribing.take(Event.APPROVED)
        case "refuse":
            subscribing.take(Event.REFUSED)
        case _:
            raise ValueError(f"a token about {token.about!r}")


def expire(draft: Draft, request: Request) -> None:
    """End a request that nobody has answered in time."""
    Subscribing(draft, request.kind, request.address).take(Event.EXPIRED)


def is_about_request(about: str) -> bool:
    """Is this what a token of a request is about?"""
    return about.rpartition(" ")[2] in ("join", "leave")


def _as_subscribed(draft: Draft, kind: RequestKind, address: str) -> str:
    """Return the address that leaves: the one that is named, or the only one of the same person that is a member."""
    if kind == "join" or draft.roster.member(draft.list_id, address) is not None:
        return address
    others = draft.roster.members_of_person(draft.list_id, address)
    return others[0].address if len(others) == 1 else address


def _kind(text: str) -> RequestKind:
    return "join" if text == "join" else "leave"


def _mode(text: str) -> DeliveryMode:
    return (
        "mime_digests"
        if text == "mime_digests"
        else "plaintext_digests"
        if text == "plaintext_digests"
        else "regular"
    )
