"""LIST-request@: commands by mail. At most ten, one answer, through the gate.

Never for automatic mail. From: is not proven, so what changes something is confirmed by the address that it is about: commanding.py. Which
words are commands is lists/commands.py's; what cannot be read as MIME or text has no commands and gets the help.
"""

import asyncio
from typing import Final

from bus.messages import Item
from lists.commands import read_commands
from lists.first_text import first_text
from lists.gate import read_cause
from lists.posts import Post
from lists.records import Origin
from runners.commanding import Asked, Commanding
from runners.deciding import Draft, decide_once
from runners.letters import open_office
from runners.outcome import Ack, Outcome, Shunt
from runners.runner import Runner

IN_THREAD: Final = 64 * 1024  # octets from which parsing takes too long for the loop


class Request(Runner):
    """The queue request."""

    slots = 8

    async def open(self) -> None:
        """Read lists and key."""
        self._office = await open_office(self.site)

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Do what one mail asks, and answer it."""
        current = await self.site.lists.current(item.list_id)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        post = Post(item.reverse_path, content)
        cause = read_cause(post.header, item.reverse_path, item.message_id)
        if cause.automatic:
            self.site.log.info(
                "member.ignored", recipient=item.recipient, message_id=item.message_id, why=cause.automatic
            )
            return Ack(reason=f"ignored: {cause.automatic}")
        asker = next(iter(post.authors), item.reverse_path)
        asked = Asked(
            commands=read_commands(post.subject, await self._read(content)),
            asker=asker,
            is_one=len(post.authors) <= 1,
            answer_to=item.reverse_path,
            lists=current.directory.lists(),
            is_ours=self._office.is_ours,
        )

        def work(draft: Draft) -> None:
            Commanding(draft, asked).do()

        return await decide_once(self.site, self._office, item, current, work, Origin(who=asker), cause)

    async def _read(self, content: bytes) -> str:
        if len(content) < IN_THREAD:
            return first_text(content)
        return await asyncio.to_thread(first_text, content)
