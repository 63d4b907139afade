"""Posts: the rules, then out to the members, to a moderator, or nowhere. Also acts on held posts, when `held` says so.

What a post is judged by is lists/rules', what becomes of its header rewriting.py's, delivery outgoing's. Every effect on the store is one
`apply_once`; a post that is accepted has one only where its author wants a receipt. Trusts the front-end for the envelope and nothing in the content.
"""

from collections.abc import Sequence
from typing import assert_never

from bus.messages import Item
from config.names import OUTGOING, ItemId
from lists.audience import Audience
from lists.changes import HoldPost, ReleaseHeld
from lists.errors import NoSuchHeld, StoreAway
from lists.gate import Kind, read_cause
from lists.headers import Header, read_header
from lists.posts import Post
from lists.records import Origin
from lists.roster import Roster
from lists.rules import Accept, Discard, Hold, Reject
from runners.deciding import Draft, decide_once
from runners.held_posts import tell_moderators, why_it_waits
from runners.letters import Office, open_office
from runners.outcome import Ack, Outcome, Output, Shunt
from runners.placing import read_args
from runners.rewriting import rewrite_post
from runners.runner import Lent, Runner
from runners.site import Current, Decision
from runners.verp import goes_with_verp

SUBJECT_KEPT = 200  # characters of it that a moderator's list shows
DECIDED = "somebody has decided about it already"
_DONE = {  # what a moderator may say, and the reason of the outcome
    "accept": "accepted by a moderator",
    "reject": "rejected by a moderator",
    "discard": "discarded by a moderator",
}


class Incoming(Runner):
    """The queue incoming: one post to one list, or an order about a held one."""

    _opened: Office | None = None
    slots = 8  # lists side by side; most of the time goes into waiting for the bus and for the store's thread
    run = 16  # posts of one list at once: one message, one task group, one commit for their acks

    async def open(self) -> None:
        """Read the lists, so that the first post need not wait for it."""
        try:
            await self.site.lists.refresh()
        except StoreAway as error:
            self.site.log.warning("snapshot.failed", error=str(error))

    def at_once(self, lease: Lent) -> Ack | None:
        """Judge a post that nobody has worked on yet, as most are; what is held, or has a receipt, needs the store."""
        item = lease.item
        known = self.site.lists.known(item.list_id) if lease.is_first and "held" not in item.args else None
        if known is None:
            return None
        current, audience = known
        post = Post(item.reverse_path, lease.content)
        match current.judge(post):
            case Accept(rule=rule):
                copies, author = _copies(item, current, audience, post)
                return None if author else self._accept(item, rule, copies)
            case Reject() | Discard() as verdict:
                return self._turn_away(item, verdict)
            case _:
                return None

    async def work(self, lease: Lent) -> Outcome:
        """Do as `handle` does; nobody asks the store for an earlier run's effect where there was no earlier run."""
        if lease.is_first and "held" not in lease.item.args:
            return await self._judge(lease.item, lease.content)
        return await self.handle(lease.item, lease.content)

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Judge one post, or act on a held one; what an earlier run of the same item has stored stands."""
        if "held" in item.args:
            return await self._act(item)
        before = await self.site.store.outcome(item.id)
        if before is not None and before.held:  # an earlier run has held it, whatever the rules say now
            return before
        return await self._judge(item, content, before)

    async def _judge(self, item: Item, content: bytes, before: Ack | None = None) -> Outcome:
        """Judge one post and do what the verdict says."""
        current = await self.site.lists.current(item.list_id)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        post = Post(item.reverse_path, content)
        if before is not None:  # an earlier run has accepted it and written the receipt
            audience = await self.site.lists.audience(item.list_id)
            return _together(fan_out(current, audience, post, post.header, item.id), before.outputs)
        match current.judge(post):
            case Accept(rule=rule):
                return await self._send_out(item, current, post, rule)
            case Hold(rule=rule):
                return await self._hold(item, current, content, post, rule)
            case Reject() | Discard() as verdict:
                return self._turn_away(item, verdict)
            case other:
                assert_never(other)

    def _turn_away(self, item: Item, verdict: Reject | Discard) -> Ack:
        """Let a post end here."""
        if isinstance(verdict, Discard):
            self._log(item, "post.discarded", verdict.rule)
            return Ack(reason=f"discarded: {verdict.rule}")
        reply = f"{verdict.code} {verdict.enhanced} {verdict.text}"
        self._log(item, "post.rejected", verdict.rule, reply=reply)
        return Ack(reason=f"rejected: {verdict.rule}")

    def _accept(self, item: Item, rule: str, copies: Sequence[Output]) -> Ack:
        """Let a post go out."""
        self._log(item, "post.accepted", rule, recipients=sum(len(each.recipients) for each in copies))
        return _together(copies)

    async def _send_out(self, item: Item, current: Current, post: Post, rule: str) -> Outcome:
        """Send a post to everybody, and a receipt to its author who wants one.

        Stored is the receipt alone: the copies follow from the item, and a list of 100,000 recipients is not kept for 48 h.
        """
        audience = await self.site.lists.audience(item.list_id)
        copies, author = _copies(item, current, audience, post)
        accepted = self._accept(item, rule, copies)
        if not author:
            return accepted

        def work(draft: Draft) -> None:
            draft.write(Kind.RECEIPT, author, "receipt")

        cause = read_cause(post.header, item.reverse_path, item.message_id)
        stored = await decide_once(self.site, await self._office(), item, current, work, Origin(), cause)
        return _together(copies, stored.outputs) if isinstance(stored, Ack) else stored

    async def _hold(self, item: Item, current: Current, content: bytes, post: Post, rule: str) -> Outcome:
        """Keep a post for a moderator, octet for octet; tell those who decide, and its sender where the list wants it."""
        cause = read_cause(post.header, item.reverse_path, item.message_id)
        subject = post.subject[:SUBJECT_KEPT]

        def work(draft: Draft) -> None:
            draft.held = True
            draft.changes.append(
                HoldPost(
                    list_id=item.list_id,
                    reverse_path=item.reverse_path,
                    reason=rule,
                    content=content,
                    message_id=item.message_id,
                    subject=subject,
                )
            )
            sender = next(iter(post.authors), item.reverse_path)
            tell_moderators(draft, rule, sender, subject, len(content))
            if current.mailing_list.settings.respond_to_post_requests:
                draft.write(Kind.HELD, item.reverse_path, "post-held", {"reason": why_it_waits(rule)})
            draft.note("post.held", why=f"held: {rule}", **self._facts(item, rule))

        return await decide_once(self.site, await self._office(), item, current, work, Origin(), cause)

    async def _act(self, item: Item) -> Outcome:
        """Do what a moderator decided about a held post; another order about the same one does nothing."""
        args = read_args(item)
        number, act = args["held"], args.get("act", "")
        if act not in _DONE:
            return Shunt("bad-order", f"held {number}: no such act {act!r}")
        done = await self.site.store.outcome(item.id)
        if done is not None:
            return done
        try:
            held, content = await self.site.store.held_post(number)
        except NoSuchHeld:
            return Ack(reason=DECIDED)
        current = await self.site.lists.current(held.list_id)
        if current is None:
            return await self._act_without_list(item, number, act)
        header = read_header(content, limit=len(content) + 1, max_fields=len(content))
        cause = read_cause(header, held.reverse_path, held.message_id)
        post = Post(held.reverse_path, content)
        audience = await self.site.lists.audience(held.list_id)
        copies = fan_out(current, audience, post, header, item.id)
        author = _receipt_to(audience, post) if copies else ""

        def work(draft: Draft) -> None:
            if draft.roster.held(number) is None:
                return draft.note("post.released", why=DECIDED, held=number, rule=act)
            draft.changes.append(ReleaseHeld(number))
            if act == "accept":
                draft.outputs += copies
                if author:
                    draft.write(Kind.RECEIPT, author, "receipt")
            if act == "reject":
                draft.write(Kind.REFUSED, held.reverse_path, "post-refused")
            return draft.note("post.released", why=_DONE[act], held=number, **self._facts(item, act))

        origin = Origin(kind="command" if "who" not in args else "mail", who=args.get("who", ""))
        return await decide_once(self.site, await self._office(), item, current, work, origin, cause)

    async def _act_without_list(self, item: Item, number: int, act: str) -> Outcome:
        """The list of a held post is gone: it can only be thrown away, and nobody is left who could write."""
        if act == "accept":
            return Shunt("unknown-list", f"held {number}: there is no list {item.list_id} any more")

        def decide(roster: Roster) -> Decision:
            if roster.held(number) is None:
                return Decision(Ack(reason=DECIDED))
            return Decision(Ack(reason=_DONE[act]), (ReleaseHeld(number),))

        outcome = await self.site.store.apply_once(item.id, decide)
        self._log(item, "post.released", act, held=number)
        return outcome

    async def _office(self) -> Office:
        """Return what our own mail is written with; made when the first post is held."""
        if self._opened is None:
            self._opened = await open_office(self.site)
        return self._opened

    def _facts(self, item: Item, rule: str) -> dict[str, str]:
        return {"rule": rule, "reverse_path": item.reverse_path, "message_id": item.message_id}

    def _log(self, item: Item, event: str, rule: str, **more: object) -> None:
        self.site.log.info(event, **self._facts(item, rule), **more)


def fan_out(
    current: Current, audience: Audience, post: Post, header: Header, item_id: ItemId
) -> tuple[Output, ...]:
    """Return what sends an accepted post to an audience; nothing for an empty one. `item_id` is of what is handled: it decides about VERP."""
    audience = audience.without_author(post.keys) if audience.spared else audience
    if not audience.addresses:
        return ()
    mailing_list = current.mailing_list
    verp = goes_with_verp(mailing_list.settings.verp_delivery_interval, item_id)
    return (
        Output(
            OUTGOING,
            content=rewrite_post(post.content or b"", header, mailing_list, current.suffixes),
            recipients=audience.addresses,
            memberships=tuple(audience.memberships) if verp else (),
            reverse_path=current.bounces,
            list_id=mailing_list.list_id,
        ),
    )


def _copies(item: Item, current: Current, audience: Audience, post: Post) -> tuple[tuple[Output, ...], str]:
    """Return what sends a post out, and its author where they want a receipt, else ""."""
    copies = fan_out(current, audience, post, post.header, item.id)
    return copies, _receipt_to(audience, post) if copies else ""


def _receipt_to(audience: Audience, post: Post) -> str:
    """Return the author if they want a receipt, "" else; what software has sent gets no answer (RFC 3834 2)."""
    author = audience.receipt_to(post.keys) if audience.receipts else ""
    return "" if author and read_cause(post.header, post.reverse_path).automatic else author


def _together(copies: Sequence[Output], receipts: Sequence[Output] = ()) -> Ack:
    return Ack(outputs=(*copies, *receipts), reason="" if copies else "no members")
