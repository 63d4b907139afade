"""LIST-join@ and LIST-leave@, and what is due about requests and members: vacations that end, requests that nobody answered.

Who asks is who the mail is from (From:, else the reverse-path); where From: names several, it is the first, who then has to confirm whatever the policy says,
for it may be written so that somebody else's program shows another. Never for automatic mail. The answer to everything is a mail to the address that it is
about, through the gate; what the table of lists/subscription.py says is done in subscribing.py.
"""

from typing import Any, Final

from bus.messages import Item
from config.names import MEMBERSHIP
from lists.address import Destination
from lists.changes import SetDelivery
from lists.gate import Cause, read_cause
from lists.mailbox import address_key, is_address
from lists.policy import Taken
from lists.posts import Post
from lists.records import Origin, RequestKind
from lists.subscription import Event
from runners.deciding import Draft, Work, decide_once
from runners.letters import open_office
from runners.outcome import Ack, Outcome, Shunt
from runners.placing import read_args
from runners.runner import Runner
from runners.site import Current
from runners.subscribing import Subscribing, expire
from runners.timekeeping import LOOK_S, Timekeeper, drop_due, time_of

MAX_WORDS: Final = 20  # of a subject that are looked at for options
_MODES: Final = {"no": "regular", "mime": "mime_digests", "plain": "plaintext_digests", "yes": "mime_digests"}
_ACTS: Final = {"approve": Event.APPROVED, "refuse": Event.REFUSED}


class Membership(Runner):
    """The queue membership."""

    slots = 8
    run = 16
    tick_s = LOOK_S

    async def open(self) -> None:
        """Read lists and key."""
        self._office = await open_office(self.site)
        self._timekeeper = Timekeeper(self.site, MEMBERSHIP, ("request", "delivery"))

    async def tick(self) -> None:
        """Publish what is due."""
        await self._timekeeper.look()

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Take one mail, one order of a moderator, or one thing that is due."""
        args = read_args(item)
        current = await self.site.lists.current(item.list_id)
        if current is None and "due" in args:
            return drop_due(self.site, item)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        if "due" in args:
            return await self._take_due(item, current, args["due"], args["key"])
        if "act" in args:
            return await self._act(item, current, args)
        return await self._ask(item, current, content)

    # Mail -------------------------------------------------------------------------------------------------------------

    async def _ask(self, item: Item, current: Current, content: bytes) -> Outcome:
        post = Post(item.reverse_path, content)
        cause = read_cause(post.header, item.reverse_path, item.message_id)
        destination = self._destination(item, current)
        if destination is None or cause.automatic:
            return self._ignore(item, cause.automatic or "no address to join or leave")
        asker = next(iter(post.authors), item.reverse_path)
        wanted = read_options(post.subject)
        address = wanted.pop("address", asker)
        if not is_address(address) or self._office.is_ours(address):
            return self._ignore(item, "no address that can be a member")
        kind: RequestKind = "join" if destination.purpose == "join" else "leave"
        is_sender = address_key(address) == address_key(asker) and len(post.authors) <= 1

        def work(draft: Draft) -> None:
            Subscribing(draft, kind, address).ask(asker, is_sender=is_sender, options=wanted)

        return await self._decide(item, current, work, Origin(who=asker), cause)

    def _destination(self, item: Item, current: Current) -> Destination | None:
        taken = current.directory.judge(item.reverse_path, item.recipient)
        return taken.destination if isinstance(taken, Taken) else None

    def _ignore(self, item: Item, why: str) -> Ack:
        self.site.log.info("member.ignored", recipient=item.recipient, message_id=item.message_id, why=why)
        return Ack(reason=f"ignored: {why}")

    # Orders and time --------------------------------------------------------------------------------------------------

    async def _act(self, item: Item, current: Current, args: dict[str, Any]) -> Outcome:
        """Do what somebody decided by a command: {"act": approve or refuse, "request": its number, "who"}."""
        event = _ACTS.get(args["act"])
        if event is None:
            return Shunt("bad-order", f"no such act {args['act']!r}")

        def work(draft: Draft) -> None:
            request = draft.roster.request_by_id(args["request"])
            if request is None or request.list_id != item.list_id:
                return draft.note("member.requested", why="somebody has decided about it already")
            return Subscribing(draft, request.kind, request.address).take(event)

        return await self._decide(item, current, work, Origin(kind="command", who=args.get("who", "")))

    async def _take_due(self, item: Item, current: Current, kind: str, key: str) -> Outcome:
        now = time_of(item, self.site.clock)

        def work(draft: Draft) -> None:
            if kind == "request":
                request = draft.roster.request_by_id(int(key))
                if request is not None and request.expires_at <= now:
                    expire(draft, request)
                return
            found = draft.roster.member_by_id(int(key))
            if found is None or found[0] != item.list_id:
                return
            member = found[1]
            if member.status_until is not None and member.status_until <= now:
                draft.changes.append(SetDelivery(draft.list_id, member.address, "enabled", role=member.role))
                draft.note("member.changed", why="delivery on again", address=member.address)

        return await self._decide(item, current, work, Origin(kind="timer"))

    async def _decide(
        self, item: Item, current: Current, work: Work, origin: Origin, cause: Cause | None = None
    ) -> Outcome:
        return await decide_once(self.site, self._office, item, current, work, origin, cause)


def read_options(subject: str) -> dict[str, str]:
    """Read `digest=no|mime|plain` and `address=ADDRESS` out of a subject; what is neither is passed over."""
    found = {}
    for word in subject.split()[:MAX_WORDS]:
        name, separator, value = word.partition("=")
        if separator and name.lower() == "digest" and value.lower() in _MODES:
            found["delivery_mode"] = _MODES[value.lower()]
        if separator and name.lower() == "address" and value:
            found["address"] = value.strip("<>")
    return found
