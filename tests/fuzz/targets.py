"""What the fuzzer feeds: functions that take any octets, and raise when a law is broken.

They need no fuzzer: tests/unit/fuzz replays the kept corpus through them. Each states the law in its docstring. Adding one: a function here, a line in TARGETS,
and where its first inputs come from in seeds.py. What hostile octets can reach before anybody is known belongs here; what needs a socket or a file does not.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from lists.header_values import first_shown, plain_text, read_addresses, read_list_ids, shown_text
from lists.headers import read_header
from lists.mailbox import address_key
from lists.senders import MAX_DEPTH, resolve_sender
from lmtp import replies
from lmtp.addresses import MAX_ADDRESS, RECIPIENT, SENDER, parse_odd, read_path
from lmtp.commands import Mail, Rcpt, parse
from lmtp.data import Gathering
from lmtp.replies import Reply
from lmtp.xforward import MAX_VALUE, read_attributes
from tests.support.lmtp_model import follow, unstuff
from tests.support.lmtp_parts import Talk, make_parts

MAX_INPUT: Final = 4096  # octets
MAX_SIZE: Final = 2000  # octets of a message
MAX_KEPT: Final = 2048 + 1  # octets that wait for the end of their line
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]").search
_FATES: Final = (None, None, None, replies.NOT_CONFIRMED, replies.FAILED, replies.STOPPED)


def fuzz_commands(octets: bytes) -> None:
    """A line is a command or the reply that refuses it: 421 or 5xx, never 4xx; an address in it has no control character and fits."""
    answer = parse(octets.replace(b"\n", b"") + b"\n", parse_odd)
    if isinstance(answer, Reply):
        assert answer.code == 421 or 500 <= answer.code <= 555, answer
    if isinstance(answer, Mail | Rcpt):
        _check_address(answer.reverse_path if isinstance(answer, Mail) else answer.recipient)


def fuzz_addresses(octets: bytes) -> None:
    """A path is None or an address that reads as itself again."""
    for grammar in (SENDER, RECIPIENT):
        address = read_path(b"<" + octets + b">", grammar, parse_odd)
        if address is not None:
            _check_address(address)
            assert read_path(f"<{address}>".encode(), grammar, parse_odd) == address


def fuzz_gathering(octets: bytes) -> None:
    """However a message is cut, its end, octets, size and verdicts are those of the simple reading."""
    stride, flags, wire = (octets[0] if octets else 0) + 1, octets[1:2], octets[2:]
    normalize = flags > b"\x7f"
    gathering = Gathering(MAX_SIZE, normalize=normalize)
    body, end, _ = (b"\r\n" + wire).partition(b"\r\n.\r\n")
    for at in range(0, len(wire), stride):
        found = gathering.feed(wire[: at + stride], at)
        assert gathering.held <= MAX_SIZE
        if found >= 0:
            assert end, "an end where there is none"
            assert found == len(body) + len(end) - 2, found
            break
    else:
        assert not end, "the end was not found"
        return
    message = gathering.message()
    content = unstuff(body, normalize=normalize)
    assert (message.size, message.too_big) == (len(content), len(content) > MAX_SIZE)
    assert message.content == (b"" if message.too_big else content)
    assert message.too_big or message.bare_newline == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", content))


def fuzz_dialogue(octets: bytes) -> None:
    """A whole session, cut anywhere: replies in step, messages octet for octet, memory bounded, no error of ours."""
    flags, stride, wire = octets[0:1] or b"\0", (octets[1:2] or b"\0")[0] or MAX_INPUT, octets[2:]
    normalize = bool(flags[0] & 1)
    talk = Talk(
        make_parts(max_size=MAX_SIZE, bare_newlines="normalize" if normalize else "reject", max_errors=1000)
    )
    talk.is_current = not flags[0] & 2
    talk.outcome = _FATES[flags[0] >> 2 & 7 if flags[0] >> 2 & 7 < len(_FATES) else 0]
    for at in range(0, len(wire), stride):
        talk.send(wire[at : at + stride])
        assert talk.dialogue.waiting <= MAX_KEPT, talk.dialogue.waiting
    session = follow(wire, talk.output, normalize=normalize)
    stored = dict.fromkeys(content for _, content in talk.parts.front.published)
    assert list(stored) == list(dict.fromkeys(session.taken))
    assert not talk.parts.events("lmtp.failed")


def fuzz_headers(octets: bytes) -> None:
    """Any message has a header whose fields are its first octets; what is shown of them has no control character."""
    header = read_header(octets, limit=5000, max_fields=50)
    raw = b"".join(field.raw for field in header.fields)
    assert octets[: header.rest].endswith(raw)
    assert len(header.fields) <= 50
    for field in header.fields:
        assert "\n" not in plain_text(field.value)
        shown_text(field.value)
    assert not _CONTROL(first_shown(header, "subject"))
    read_list_ids(header)
    for address in read_addresses(header, ("from", "sender", "reply-to")):
        assert "\n" not in address


def fuzz_xforward(octets: bytes) -> None:
    """Attributes are None or values that no log and no header can be hurt by."""
    for value in (read_attributes(octets) or {}).values():
        assert isinstance(value, int) or (len(value) <= MAX_VALUE and not _CONTROL(value)), value


def fuzz_senders(octets: bytes) -> None:
    """Whoever a reverse-path may stand for is a key, each once, and there are few."""
    reverse_path = octets.decode("utf-8", "replace")
    found = resolve_sender(reverse_path)
    keys = [sender.key for sender in found]
    assert len(set(keys)) == len(keys) <= 1 + 2 ** (MAX_DEPTH + 1)
    assert not keys or keys[0] == address_key(reverse_path)


def _check_address(address: str) -> None:
    assert not _CONTROL(address), address
    assert len(address.encode()) <= MAX_ADDRESS
    assert address in ("", "postmaster") or address.rpartition("@")[0], address


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "dialogue": fuzz_dialogue,
    "commands": fuzz_commands,
    "addresses": fuzz_addresses,
    "gathering": fuzz_gathering,
    "headers": fuzz_headers,
    "xforward": fuzz_xforward,
    "senders": fuzz_senders,
}
