"""The commands that people write to LIST-request@: found in a subject and a text, under limits. Pure; what they do is the runner's.

The subject comes first, without "Re:" and its like; a subject that is no command is no mistake. Then the lines of the text: empty and quoted ones are passed
over, a signature ("-- "), `end` and `stop` end them. What a stranger wrote is never handed on as it stands: `tame` makes a few harmless letters of it.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from msgspec import Struct

Name = Literal["help", "lists", "join", "leave", "confirm", "set", "who", "echo", "unknown"]

MAX_COMMANDS: Final = 10  # in one mail; Mailman's email_commands_max_lines is 10
MAX_UNKNOWN: Final = 3  # then this is no list of commands but somebody's letter
MAX_LINES: Final = 200  # that are looked at: quoted and empty ones are passed over
MAX_LINE: Final = 1000  # characters; RFC 5322 2.1.1 allows 998
MAX_SHOWN: Final = 40  # characters of somebody's own words that an answer repeats

_NAMES: Final[dict[str, Name]] = {
    "help": "help",
    "lists": "lists",
    "join": "join",
    "subscribe": "join",
    "leave": "leave",
    "unsubscribe": "leave",  # List-Unsubscribe of Mailman 2.1 for ever: mailto:LIST-request@...?subject=unsubscribe
    "confirm": "confirm",
    "set": "set",
    "who": "who",
    "echo": "echo",
}
_ENDS: Final = frozenset({"end", "stop"})
# "Re:", as mail programs of several languages write it, and a list's subject prefix, in any order.
_BEFORE = re.compile(
    r"\A(?:(?:re|fwd?|aw|wg|antw|sv|vs|rv|tr|odp)(?:\[\d{1,3}\])?[ \t]*:[ \t]*|\[[^\[\]]{0,80}\][ \t]*)+",
    re.IGNORECASE,
)
_CONFIRM = re.compile(r"\bconfirm[ \t]+(?:[a-z2-7]{24}|[0-9a-f]{40})\b", re.IGNORECASE)
_WILD = re.compile(r"[^\w \-]")

_SWITCH: Final = {"on": "yes", "yes": "yes", "off": "no", "no": "no"}
_SWITCHES: Final = {
    "ack": "acknowledge_posts",
    "hide": "hide_address",
    "own": "receive_own_postings",
    "myposts": "receive_own_postings",  # as Mailman calls it
}
_DIGEST: Final = {
    "on": "mime_digests",
    "yes": "mime_digests",
    "mime": "mime_digests",
    "plain": "plaintext_digests",
    "off": "regular",
    "no": "regular",
}


class Command(Struct, frozen=True):
    """One command; of an unknown one `words` is what may be shown of it."""

    name: Name
    words: tuple[str, ...] = ()


class Commands(Struct, frozen=True):
    """What a mail asks for, in order, nothing twice; `is_cut`: it asks for more, which was not read."""

    commands: tuple[Command, ...] = ()
    is_cut: bool = False


def read_commands(subject: str, text: str) -> Commands:
    """Find the commands in a mail; never raises."""
    first = _read_subject(subject[:MAX_LINE])
    found = [first] if first else []
    unknown = 0
    for line in _lines(text):
        words = line.split()
        if words[0].lower() in _ENDS:
            break
        command = _read(words)
        if command.name == "unknown":
            unknown += 1
            if first and found == [first]:  # the subject says it all; the text is somebody's letter
                break
        if command in found:
            continue
        if len(found) >= MAX_COMMANDS or unknown > MAX_UNKNOWN:
            return Commands(tuple(found), is_cut=True)
        found.append(command)
    return Commands(tuple(found))


def _read_subject(subject: str) -> Command | None:
    subject = _BEFORE.sub("", subject.strip())
    words = subject.split()
    if not words:
        return None
    command = _read(words)
    if command.name != "unknown":
        return command
    told = _CONFIRM.search(subject)  # "Please confirm ... confirm TOKEN"
    return _read(told[0].split()) if told else None


def _lines(text: str) -> Iterator[str]:
    """Yield what may be commands, without blanks around it."""
    for line in text.splitlines()[:MAX_LINES]:
        if line.rstrip("\r\n") in ("-- ", "--"):  # RFC 3676 4.3
            return
        line = line[:MAX_LINE].strip()
        if line and not line.startswith((">", "|")):
            yield line


def _read(words: Sequence[str]) -> Command:
    name = _NAMES.get(words[0].lower())
    return Command("unknown", (tame(words[0]),)) if name is None else Command(name, tuple(words[1:]))


def tame(text: str) -> str:
    """Return at most MAX_SHOWN characters in which there is no link, no address and no control character, whoever wrote them."""
    shown = _WILD.sub("?", text[: MAX_SHOWN + 1])
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "..."


# Options --------------------------------------------------------------------------------------------------------------


def read_setting(words: Sequence[str]) -> tuple[str, ...] | None:
    """Turn what follows `set` into KEY=VALUE of lists/member_options.py; None: it cannot be understood.

    Only what is a member's own: `digest on|mime|plain|off`, `delivery on|off`, `vacation [on] [until DAY]`, `vacation off`, `ack|hide|own on|off`, `language CODE`.
    """
    match [word.lower() for word in words]:
        case ["digest", mode] if mode in _DIGEST:
            return (f"delivery_mode={_DIGEST[mode]}",)
        case [name, switch] if name in _SWITCHES and switch in _SWITCH:
            return (f"{_SWITCHES[name]}={_SWITCH[switch]}",)
        case ["delivery", switch] if switch in _SWITCH:
            return ("delivery_status=" + ("enabled" if _SWITCH[switch] == "yes" else "by_user"),)
        case ["vacation", switch] if _SWITCH.get(switch) == "no":
            return ("delivery_status=enabled",)
        case ["vacation"] | ["vacation", "on" | "yes"]:
            return ("delivery_status=vacation",)
        case ["vacation", "until", day] | ["vacation", "on" | "yes", "until", day]:
            return ("delivery_status=vacation", f"until={day}")
        case ["language", _]:
            return (f"language={words[1]}",)
    return None
