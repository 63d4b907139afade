"""Mail to the people behind a list (LIST-owner@, LIST-admin@) or behind the site (postmaster@, abuse@): forwards it to them.

Never to an address that routes back to us, which would go round for ever: next owner, then the site's owner, else a person must
look (Shunt no-owner). Mail leaves as it came but for a mark; what comes with our mark has been round once and is set aside.
"""

from bus.messages import Item
from config.names import OUTGOING
from lists.errors import NoSuchList
from lists.model import Role
from lists.policy import Taken
from runners.headers import read_header
from runners.outcome import Ack, Outcome, Output, Shunt
from runners.rewriting import has_mark, mark
from runners.runner import Runner

ROLES: tuple[Role, ...] = ("owner", "moderator")


class Owner(Runner):
    """The queue owner."""

    slots = 4

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Forward one mail to whoever answers for its list."""
        header = read_header(content)
        if has_mark(header, item.recipient):
            return Shunt("loop", f"this mail has been forwarded from {item.recipient} before")
        recipients = await self._find_recipients(item)
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
        marked = (
            content
            if header.too_long or not item.recipient.isascii()
            else mark(content, header, item.recipient)
        )
        return Ack(outputs=[Output(OUTGOING, content=marked, recipients=recipients)])

    async def _find_recipients(self, item: Item) -> tuple[str, ...]:
        """Return the owners and moderators who do not route to us, else the site's owner, else nobody."""
        directory = await self.site.lists.refresh()
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
