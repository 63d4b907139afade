"""What commands by mail do, in one decision: each tells a line or two, and one answer has them all. Pure.

Joining, leaving, settings and good tokens answer by mails of their own, to the address that they are about; where a mail asks for nothing else, these are the
answer. No result says who is a member, and nothing of the mail is repeated but a few tamed letters.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from lists.commands import MAX_COMMANDS, Commands, Name, read_setting, tame
from lists.gate import Kind
from lists.mailbox import address_key, is_address
from lists.model import MailingList, Role
from lists.records import RequestKind
from runners.confirm import confirm
from runners.deciding import Draft
from runners.member_settings import are_in_order, ask_settings
from runners.membership import read_options
from runners.phrases import Phrase, Value
from runners.subscribing import Subscribing

HELP: Final = (
    Phrase("help - this text"),
    Phrase("lists - the lists of this domain"),
    Phrase("join - become a member; join digest=plain for digests"),
    Phrase("leave - be a member no longer"),
    Phrase("confirm CODE - say yes to what a mail with this code asked"),
    Phrase("set digest mime, set digest plain, set digest off - digests, or each post"),
    Phrase("set delivery on, set delivery off - posts, or none"),
    Phrase("set vacation until 2030-12-31, set vacation off - no posts for a time"),
    Phrase("set ack on, set ack off - a word when a post of yours went out"),
    Phrase("set own on, set own off - your own posts, too"),
    Phrase("set hide on, set hide off - your address is not shown to other members"),
    Phrase("set language de - language of the mail that the list itself writes"),
    Phrase("who - owners and moderators of the list"),
    Phrase("echo WORDS - does the mail get here?"),
    Phrase("end - what follows is not read"),
)
MAX_LISTED: Final = 200  # lists in one answer
_STAFF: Final[tuple[Role, ...]] = ("owner", "moderator")


class Asked(Struct, frozen=True, kw_only=True):
    """What a mail asks, and who."""

    commands: Commands
    asker: str  # From:, else the reverse-path; not proven
    is_one: bool = True  # From: names nobody else
    answer_to: str  # the reverse-path (RFC 3834 4)
    lists: Sequence[MailingList]  # every list of the site
    is_ours: Callable[[str], bool]


class Commanding:
    """The commands of one mail at work."""

    def __init__(self, draft: Draft, asked: Asked) -> None:
        self._draft = draft
        self._asked = asked
        self._results: list[Value] = []
        self._settings: dict[str, str] = {}  # all that is to be set, by name: one token for all
        self._requested: set[str] = set()  # keys of addresses that something was asked for

    def do(self) -> None:
        """Do all of them, and answer."""
        for command in self._asked.commands.commands:
            self._draft.note("request.taken", why=command.name)
            result = _DOES[command.name](self, command.words)
            if result is not None:
                self._results += (result, "") if command.name == "help" else (result,)
        if self._settings:
            assignments = [f"{name}={value}" for name, value in self._settings.items()]
            ask_settings(self._draft, self._asked.asker, assignments)
        self._answer()

    def _answer(self) -> None:
        if self._asked.commands.is_cut:
            self._results.append(
                Phrase("What follows was not read; at most $number commands.", {"number": str(MAX_COMMANDS)})
            )
        if not self._asked.commands.commands:
            self._results += (Phrase("There is no command in your mail. These are known:"), "", HELP)
        if self._results:
            results = tuple(self._results)
            self._draft.write(Kind.ANSWER, self._asked.answer_to, "results", {"results": results})

    # Commands: each returns what it tells, None where a mail of its own does --------------------------------------------

    def help(self, _: Sequence[str]) -> Value | None:
        """Tell the commands."""
        return (Phrase("Write one command a line, in the text or the subject:"), "", *HELP)

    def lists(self, _: Sequence[str]) -> Value | None:
        """Tell the advertised lists of this list's domain."""
        domain = self._draft.setting.mailing_list.domain
        shown = [each for each in self._asked.lists if each.domain == domain and each.settings.advertised]
        shown.sort(key=_address)
        lines = [f"    {each.address}  {each.settings.description}".rstrip() for each in shown[:MAX_LISTED]]
        if not lines:
            return Phrase("lists: no list of this domain is shown.")
        return (Phrase("lists: the lists of this domain are"), *lines)

    def join(self, words: Sequence[str]) -> Value | None:
        """Ask to join."""
        return self._request("join", words)

    def leave(self, words: Sequence[str]) -> Value | None:
        """Ask to leave."""
        return self._request("leave", words)

    def _request(self, kind: RequestKind, words: Sequence[str]) -> Value | None:
        wanted = read_options(" ".join(words))
        address = wanted.pop("address", self._asked.asker)
        if not is_address(address) or self._asked.is_ours(address):
            return Phrase("$command: there is no address that can be a member.", {"command": kind})
        key = address_key(address)
        if key in self._requested:  # the store does not yet know of the first
            return Phrase("$command: one request for an address in one mail.", {"command": kind})
        self._requested.add(key)
        asker = self._asked.asker
        is_sender = key == address_key(asker) and self._asked.is_one
        Subscribing(self._draft, kind, address).ask(asker, is_sender=is_sender, options=wanted)
        return None

    def confirm(self, words: Sequence[str]) -> Value | None:
        """Take a token."""
        text = words[0].lower() if words else ""
        if confirm(self._draft, text, self._asked.answer_to, self._asked.asker):
            return None
        return Phrase("confirm: this code is not good, or no longer. Nothing was changed.")

    def set(self, words: Sequence[str]) -> Value | None:
        """Remember what is to be set; the last word of a thing counts."""
        assignments = read_setting(words)
        if assignments is None or not are_in_order(self._draft, assignments):
            return Phrase("set: not understood. The command help tells what can be set.")
        if assignments[0].startswith("delivery_status"):
            self._settings.pop("until", None)
        self._settings |= {name: value for name, _, value in (each.partition("=") for each in assignments)}
        return None

    def who(self, _: Sequence[str]) -> Value | None:
        """Tell owners and moderators who do not hide; the address of all of them stands for the others."""
        roster, list_id = self._draft.roster, self._draft.list_id
        lines = [
            f"    {address}"
            for address in roster.addresses_of(list_id, _STAFF)
            if not any(each.hide_address for each in roster.roles(list_id, address))
        ]
        owner = f"    {self._draft.setting.address('owner')}"
        return (Phrase("who: owners and moderators of the list"), owner, *lines)

    def echo(self, words: Sequence[str]) -> Value | None:
        """Show that mail arrives."""
        return Phrase("echo: $words", {"words": tame(" ".join(words))})

    def unknown(self, words: Sequence[str]) -> Value | None:
        """Name what is no command."""
        return Phrase("$command: no such command. The command help tells all.", {"command": words[0]})


_DOES: Final[Mapping[Name, Callable[[Commanding, Sequence[str]], Value | None]]] = {
    "help": Commanding.help,
    "lists": Commanding.lists,
    "join": Commanding.join,
    "leave": Commanding.leave,
    "confirm": Commanding.confirm,
    "set": Commanding.set,
    "who": Commanding.who,
    "echo": Commanding.echo,
    "unknown": Commanding.unknown,
}


def _address(mailing_list: MailingList) -> str:
    return mailing_list.address
