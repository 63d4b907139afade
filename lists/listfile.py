"""The file that a whole list is exported to: lines of JSON, so that 100,000 members are read and written one by one, and a person can read,
compare and search it. Pure.

The first line is the list, the last one says how many there were: a file that was cut off is noticed. Between them, in this order: settings that
are not at their default, bans, members in every role with all that is known of each, persons with several addresses, evidence of bounces.
Held posts, tokens, requests and history stay: they belong to the site where they came about. What stands at its default is left out.
Not YAML or TOML: a reader of either holds the whole file in memory, and takes a minute for it.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, assert_never

import msgspec
from msgspec import Meta, Struct

from lists.bounces.failure import BounceClass
from lists.errors import BadAddress, BadListFile, BadOption, BadPattern
from lists.mailbox import address_key, check_address
from lists.member_options import MAX_TEXT
from lists.model import DeliveryMode, DeliveryStatus, MemberAction, Role
from lists.options import settings_from
from lists.patterns import check_pattern
from lists.records import BounceRecord

FORMAT: Final = 1  # raised when an older version would misread what a newer one writes
MAX_LINE: Final = 1_000_000  # octets; a setting of 10,000 addresses has 300,000
_Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class Line(
    Struct, frozen=True, kw_only=True, tag_field="line", omit_defaults=True, forbid_unknown_fields=True
):
    """One line; each kind has its word under "line"."""


class ListLine(Line, frozen=True, kw_only=True, tag="list"):
    """What the file is: the first line."""

    address: str
    list_id: str
    exported_at: datetime
    format: Annotated[int, Meta(ge=1)]


class SettingLine(Line, frozen=True, kw_only=True, tag="setting"):
    """One setting that is not at its default."""

    name: str
    value: Any


class BanLine(Line, frozen=True, kw_only=True, tag="ban"):
    """One ban of the list."""

    pattern: str


class MemberLine(Line, frozen=True, kw_only=True, tag="member"):
    """One membership; fields as in model.Member."""

    address: str
    role: Role = "member"
    joined_at: datetime
    moderation_action: MemberAction | Literal[""] = ""
    display_name: _Text = ""
    language: _Text = ""
    delivery_mode: DeliveryMode = "regular"
    delivery_status: DeliveryStatus = "enabled"
    status_by: str = ""
    status_why: str = ""
    status_at: datetime | None = None
    status_until: datetime | None = None
    receive_own_postings: bool = True
    acknowledge_posts: bool = False
    hide_address: bool = False
    bounces: BounceRecord | None = None


class PersonLine(Line, frozen=True, kw_only=True, tag="person"):
    """Addresses that are one person's; one of them at least is in the list."""

    addresses: tuple[str, ...]


class EvidenceLine(Line, frozen=True, kw_only=True, tag="bounce"):
    """One bounce of one address."""

    address: str
    at: datetime
    day: date
    bounce_class: BounceClass | Literal["complaint"]
    status: str = ""
    diagnostic: str = ""
    same_words: str = ""
    item_id: str = ""


class EndLine(Line, frozen=True, kw_only=True, tag="end"):
    """How many lines stand between the first and this one: the last line."""

    lines: int


AnyLine = ListLine | SettingLine | BanLine | MemberLine | PersonLine | EvidenceLine | EndLine
Body = SettingLine | BanLine | MemberLine | PersonLine | EvidenceLine

_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)
_encode = msgspec.json.Encoder().encode


def write_lines(head: ListLine, body: Iterable[Body]) -> Iterator[bytes]:
    """Yield the lines of a file, each with its newline."""
    count = 0
    yield _encode(head) + b"\n"
    for line in body:
        count += 1
        yield _encode(line) + b"\n"
    yield _encode(EndLine(lines=count)) + b"\n"


class ListFile:
    """A file on its way in: the first line at once, the others as they are asked for."""

    def __init__(self, lines: Iterable[bytes]) -> None:
        """Read the first line; raises BadListFile."""
        self._lines = enumerate(lines, 1)
        self.number = 0  # of the line that was read last
        first = self._next()
        if not isinstance(first, ListLine):
            raise BadListFile(self.number, "is not the first line of an exported list")
        if first.format > FORMAT:
            raise BadListFile(
                self.number, f"has format {first.format}, this version knows {FORMAT}: use a newer Postroom"
            )
        self.head = first

    def body(self) -> Iterator[Body]:
        """Yield every line but the first and the last, checked; raises BadListFile for one that is not in order, and for a file that was cut off."""
        seen: set[tuple[str, str]] = set()
        is_behind_settings = False
        while not isinstance(line := self._next(), EndLine):
            if isinstance(line, ListLine):
                raise BadListFile(self.number, "begins a second list: one file, one list")
            if isinstance(line, SettingLine) and is_behind_settings:
                raise BadListFile(self.number, "is a setting: they stand before all else")
            is_behind_settings = not isinstance(line, SettingLine)
            self._check(line, seen)
            yield line
        if line.lines != self.number - 2:
            raise BadListFile(
                self.number, f"counts {line.lines} lines before it, there are {self.number - 2}"
            )
        if next(self._lines, None) is not None:
            raise BadListFile(self.number + 1, "stands behind the end")

    def _next(self) -> AnyLine:
        self.number, text = next(self._lines, (self.number + 1, b""))
        if not text.strip():
            raise BadListFile(self.number, "is missing: the file was cut off" if not text else "is empty")
        if len(text) > MAX_LINE:
            raise BadListFile(self.number, f"has {len(text)} octets; is this an exported list?")
        try:
            return _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadListFile(self.number, f"cannot be read: {error}") from error

    def _check(self, line: Body, seen: set[tuple[str, str]]) -> None:
        """Look at what the types do not say."""
        try:
            match line:
                case MemberLine():
                    check_address(line.address)
                    place = address_key(line.address), line.role
                    if place in seen:
                        raise BadListFile(self.number, f"has {line.address} as {line.role} again")
                    seen.add(place)
                case EvidenceLine():
                    check_address(line.address)
                case PersonLine():
                    for each in line.addresses:
                        check_address(each)
                case SettingLine():
                    settings_from({line.name: line.value})
                case BanLine():
                    check_pattern(line.pattern)
                case _:
                    assert_never(line)
        except (BadAddress, BadOption, BadPattern) as error:
            raise BadListFile(self.number, str(error)) from error
