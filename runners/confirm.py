"""LIST-confirm+TOKEN@: a token comes back, and what it is about happens once.

Never for automatic mail: a vacation notice that answers a confirmation confirms nothing. A token that is unknown, used or expired is answered kindly, with
the same words for all three, and changes nothing. Who sends it does not matter, having it does; it went to one address alone.
"""

import re
from typing import Final

from bus.messages import Item
from lists.changes import SetDelivery, UseToken
from lists.gate import Kind, read_cause
from lists.policy import Taken
from lists.posts import Post
from lists.records import Origin, Token
from lists.tokens import token_hash
from runners.bounce_case import ENABLE
from runners.deciding import Draft, decide_once
from runners.held_posts import decide_held, is_about_held
from runners.letters import open_office
from runners.member_settings import ABOUT as SETTINGS
from runners.member_settings import confirm_settings
from runners.outcome import Ack, Outcome, Shunt
from runners.runner import Runner
from runners.site import Current
from runners.subscribing import is_about_request, use_token

# In a subject, "Re: ... confirm TOKEN": ours, or Mailman's 40 hex digits.
_IN_SUBJECT: Final = re.compile(r"\bconfirm[ \t]+([a-z2-7]{24}|[0-9a-f]{40})\b", re.IGNORECASE)


class Confirm(Runner):
    """The queue confirm."""

    slots = 8
    run = 16

    async def open(self) -> None:
        """Read lists and key."""
        self._office = await open_office(self.site)

    async def handle(self, item: Item, content: bytes) -> Outcome:
        """Take one token."""
        current = await self.site.lists.current(item.list_id)
        if current is None:
            return Shunt("unknown-list", f"there is no list {item.list_id} any more")
        post = Post(item.reverse_path, content)
        cause = read_cause(post.header, item.reverse_path, item.message_id)
        if cause.automatic:
            self.site.log.info("member.ignored", recipient=item.list_id, why=cause.automatic)
            return Ack(reason=f"ignored: {cause.automatic}")
        token = self._token_of(item, current, post)
        sender = next(iter(post.authors), item.reverse_path)

        def work(draft: Draft) -> None:
            if not confirm(draft, token, item.reverse_path, sender):
                draft.write(Kind.ANSWER, item.reverse_path, "token-unknown")

        return await decide_once(self.site, self._office, item, current, work, Origin(who=sender), cause)

    def _token_of(self, item: Item, current: Current, post: Post) -> str:
        taken = current.directory.judge(item.reverse_path, item.recipient)
        named = taken.destination.token if isinstance(taken, Taken) else ""
        return named or token_in(post.subject)


def token_in(subject: str) -> str:
    """Return the token that a subject names, "" for none."""
    found = _IN_SUBJECT.search(subject)
    return found[1].lower() if found else ""


def confirm(draft: Draft, text: str, answer_to: str, who: str) -> bool:
    """Do what a token is about, in the name of `who`; False: it is not good, or no longer, and nothing was done.

    `answer_to` hears when what it is about is over (RFC 3834 4: the reverse-path).
    """
    token = draft.roster.token(token_hash(text)) if text else None
    is_good = token is not None and _is_good(draft, token) and _use(draft, token, answer_to, who)
    if not is_good:
        draft.note("member.requested", why="the token is not good, or no longer")
    return is_good


def _use(draft: Draft, token: Token, answer_to: str, who: str) -> bool:
    if is_about_held(token.about):
        return decide_held(draft, token, who)
    if token.about == ENABLE:
        _enable(draft, token)
    elif token.about.startswith(SETTINGS):
        confirm_settings(draft, token)
    else:
        use_token(draft, token, answer_to)
    return True


def _is_good(draft: Draft, token: Token) -> bool:
    is_ours = token.purpose == "confirm" and token.list_id == draft.list_id
    return (
        is_ours
        and token.is_open(draft.setting.now)
        and (
            token.about == ENABLE
            or token.about.startswith(SETTINGS)
            or is_about_request(token.about)
            or is_about_held(token.about)
        )
    )


def _enable(draft: Draft, token: Token) -> None:
    """A member whose delivery bounces had ended is there again."""
    draft.changes.append(UseToken(token.hash))
    member = draft.roster.member(draft.list_id, token.address)
    if member is None:
        return draft.note("member.requested", why="no member any more")
    if member.delivery_status == "by_bounces":
        draft.changes.append(SetDelivery(draft.list_id, member.address, "enabled"))
    draft.write(Kind.ANSWER, member.address, "delivery-on")
    return draft.note("member.changed", why="delivery on again", address=member.address)
