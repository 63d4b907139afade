"""Posts: the rules, then out to the members, to a moderator, or nowhere. Also acts on held posts, when `held` says so.

What a post is judged by is lists/rules', what becomes of its header rewriting.py's, delivery outgoing's. Every effect on the store is one
`apply_once`. Trusts the front-end for the envelope and nothing in the content.
"""

from typing import assert_never

from bus.messages import Item
from config.names import OUTGOING
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
from runners.runner import Runner
from runners.site import Current, Decision

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

    async def open(self) -> None:
        """Read the lists, so that the first post need not wait for it."""
        try:
            await self.site.lists.refresh()
        except StoreAway as error:
            self.site.log.warning("snapshot.failed", error=str(error))

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Judge one post and do what the verdict says."""
        if "held" in item.args:
            return await self._act(item)
        held_before = await self.site.store.outcome(item.id)
        if held_before is not None:  # an earlier run has held it, whatever the rules say now
            return held_before
        current = await self.site.lists.current(item.list_id)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        post = Post(item.reverse_path, content)
        match current.judge(post):
            case Accept(rule=rule):
                self._log(item, "post.accepted", rule, recipients=len(current.recipients))
                return fan_out(current, content, post.header)
            case Hold(rule=rule):
                return await self._hold(item, current, content, post, rule)
            case Reject(rule=rule, code=code, enhanced=enhanced, text=text):
                self._log(item, "post.rejected", rule, reply=f"{code} {enhanced} {text}")
                return Ack(reason=f"rejected: {rule}")
            case Discard(rule=rule):
                self._log(item, "post.discarded", rule)
                return Ack(reason=f"discarded: {rule}")
            case other:
                assert_never(other)

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

        def work(draft: Draft) -> None:
            if draft.roster.held(number) is None:
                return draft.note("post.released", why=DECIDED, held=number, rule=act)
            draft.changes.append(ReleaseHeld(number))
            if act == "accept":
                draft.outputs += fan_out(current, content, header).outputs
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


def fan_out(current: Current, content: bytes, header: Header) -> Ack:
    """Return what sends an accepted post to everybody who gets the posts of its list."""
    if not current.recipients:
        return Ack(reason="no members")
    return Ack(
        outputs=[
            Output(
                OUTGOING,
                content=rewrite_post(content, header, current.mailing_list, current.suffixes),
                recipients=current.recipients,
                reverse_path=current.bounces,
                list_id=current.mailing_list.list_id,
            )
        ]
    )
