"""Mail to the people behind a list (LIST-owner@, LIST-admin@) or behind the site (postmaster@, abuse@): forwards it to them.

Never to an address that routes back to us, which would go round for ever: next owner, then the site's owner, else a person must
look (Shunt no-owner). Mail leaves as it came but for a mark, with LIST-bounces@ as its reverse-path, so that nothing comes back to a stranger.

What a program sends to a list's owners: a bounce goes where bounces are read (our notices are From: LIST-owner@, and some mailers answer that), an automatic
reply is thrown away with a line (RFC 3834 2), all else goes on: reports and alarms may be meant for them. The site's own mailboxes get all of it.

Strategy, harm, proof (tests/processes/test_runner_owner.py):
- what has our mark has been round, and what has 100 Received fields goes round with somebody who takes the mark off: set aside, never sent on;
- what the bounces runner passes on comes here once and is not given back to it;
- a header rule that drops, drops here too, with a line; one that refuses, and the size, are the front-end's 5xx (lists/rules/owner_mail.py).
"""

from typing import Final

from bus.messages import Item
from config.names import BOUNCES, OUTGOING
from lists.directory import Directory
from lists.errors import NoSuchList
from lists.gate import read_cause
from lists.model import Role
from lists.policy import Taken
from lists.posts import Post
from lists.rules import Discard, Reject
from runners.headers import Header
from runners.outcome import Ack, Outcome, Output, Shunt
from runners.rewriting import has_mark, mark
from runners.runner import Runner

ROLES: tuple[Role, ...] = ("owner", "moderator")
MAX_RECEIVED: Final = (
    100  # fields; RFC 5321 6.3. Postfix's hopcount_limit is 50, Exim's received_headers_max 30
)
PASSED_ON: Final = "passed_on"  # in args: the bounces runner could not read it, and the owners want such

_BOUNCES: Final = frozenset({"null-reverse-path", "report"})  # of gate.read_cause: what says that mail failed
_REPLIES: Final = frozenset(
    {"auto-replied", "auto-notified"}
)  # words of Auto-Submitted (RFC 3834 5, RFC 5436 2.7.1)


class Owner(Runner):
    """The queue owner."""

    slots = 4

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Forward one mail to whoever answers for its list."""
        post = Post(item.reverse_path, content)
        header = post.header
        if has_mark(header, item.recipient):
            return Shunt("loop", f"this mail has been forwarded from {item.recipient} before")
        if len(header.values("received")) > MAX_RECEIVED:
            return Shunt("loop", f"more than {MAX_RECEIVED} Received fields (RFC 5321 6.3)")
        directory = await self.site.lists.refresh()
        if item.list_id and PASSED_ON not in item.args:
            elsewhere = self._not_for_owners(item, post, directory)
            if elsewhere is not None:
                return elsewhere
        recipients = await self._find_recipients(item, directory)
        if not recipients:
            return Shunt(
                "no-owner", f"{item.recipient}: no owner that can be reached, and [site] owner cannot either"
            )
        self.site.log.info(
            "owner.forwarded",
            recipient=item.recipient,
            recipients=len(recipients),
            message_id=item.message_id,
        )
        return Ack(outputs=[Output(OUTGOING, content=_marked(item, content, header), recipients=recipients)])

    def _not_for_owners(self, item: Item, post: Post, directory: Directory) -> Ack | None:
        """Return what becomes of mail that no owner of a list wants to read, None for all other."""
        why = read_cause(post.header, item.reverse_path).automatic
        if why in _BOUNCES:
            self.site.log.info("owner.ignored", recipient=item.recipient, message_id=item.message_id, why=why)
            return Ack(outputs=[Output(BOUNCES, reverse_path="")], reason=f"to bounces: {why}")
        verdict = directory.judge_owner_mail(item.list_id, post)
        if isinstance(verdict, Discard | Reject):
            return self._ignore(item, verdict.rule)
        if why == "auto-reply" or post.auto_submitted in _REPLIES:
            return self._ignore(item, why)
        return None

    def _ignore(self, item: Item, why: str) -> Ack:
        self.site.log.info("owner.ignored", recipient=item.recipient, message_id=item.message_id, why=why)
        return Ack(reason=f"ignored: {why}")

    async def _find_recipients(self, item: Item, directory: Directory) -> tuple[str, ...]:
        """Return the owners and moderators who do not route to us, else the site's owner, else nobody."""
        named: tuple[str, ...] = ()
        if item.list_id:
            try:
                named = await self.site.store.addresses_of(item.list_id, ROLES)
            except NoSuchList:  # removed meanwhile: the site's owner hears of it
                named = ()
        for candidates in (named, (self.site.settings.site.owner,)):
            reached = tuple(
                address
                for address in candidates
                if address and not isinstance(directory.judge("", address), Taken)
            )
            if reached:
                return reached
        return ()


def _marked(item: Item, content: bytes, header: Header) -> bytes:
    """Return the mail with our mark; what cannot be edited stays as it is."""
    if header.too_long or not item.recipient.isascii():
        return content
    return mark(content, header, item.recipient)
