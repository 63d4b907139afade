"""The first inputs of each target: what the stories of tests/conformance say, cut to what the target takes; and the kept corpus.

The corpus (tests/fuzz/corpus/TARGET) holds what the fuzzer found to reach other places, and one file for each mistake that it found. It stays small.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from lists.sender_forms import FORMS
from tests.support.transcript import Send, stories

CORPUS: Final = Path(__file__).resolve().parent / "corpus"
MAX_SEED: Final = 4096  # octets
_PATH: Final = re.compile(rb"<([^<>\r\n]*)>").findall
_MESSAGE: Final = re.compile(rb"DATA\r\n(.*?\r\n\.\r\n)", re.DOTALL).findall


def seeds(target: str) -> list[bytes]:
    """Return the inputs that a target begins with, each once."""
    found = [part[:MAX_SEED] for wire in _wires() for part in _PARTS[target](wire)]
    if target == "senders":
        found += [address.encode() for form in FORMS for address, _ in form.accepted]
    return list(dict.fromkeys(found))


def kept(target: str) -> list[Path]:
    """Return the files of a target's corpus, in order of name."""
    return sorted(path for path in (CORPUS / target).glob("*") if path.is_file())


def _wires() -> Iterator[bytes]:
    """Give what each story sends, whole."""
    for story in stories():
        yield b"".join(step.octets for step in story.steps if isinstance(step, Send))


def _lines(wire: bytes) -> list[bytes]:
    return [line.removesuffix(b"\n") for line in wire.splitlines(keepends=True)]


_PARTS: Final[Mapping[str, Callable[[bytes], list[bytes]]]] = {
    "dialogue": lambda wire: [b"\x00\x00" + wire, b"\x0d\x03" + wire],
    "commands": _lines,
    "addresses": _PATH,
    "gathering": lambda wire: [
        flags + message for message in _MESSAGE(wire) for flags in (b"\xff\x00", b"\x01\xff")
    ],
    "headers": _MESSAGE,
    "xforward": lambda wire: [
        line[9:].rstrip(b"\r") for line in _lines(wire) if line.startswith(b"XFORWARD ")
    ],
    "senders": _PATH,
}
