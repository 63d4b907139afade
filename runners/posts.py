"""Reads of a post what the rules look at, whatever the post looks like.

Header access is guarded: `email` needs seconds for some real headers and raises on others, so it sees single values of bounded length, and
what it raises becomes an empty value. Nothing below the header is ever parsed: 1,500 nested parts are a body like any other.
"""

import re
from email.utils import getaddresses

from msgspec import Struct

from bus.messages import Item
from lists.policy import Post
from runners.headers import Header, read_header, shown_value

MAX_VALUE = 32 * 1024  # octets of one address header that are read
MAX_ADDRESSES = 1000
_SEEN_ON_REAL_MAIL = (
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    RecursionError,
)  # what getaddresses raises
_ANGLE = re.compile(r"<([^<>]*)>")
_MAILTO = re.compile(r"mailto:([^?<>\s,]+)", re.IGNORECASE)


class ReadPost(Struct, frozen=True):
    """A post as incoming sees it: the header, and what the rules look at."""

    header: Header
    post: Post
    subject: str  # as a reader sees it, roughly and bounded: for a moderator's list


def read_post(item: Item, content: bytes) -> ReadPost:
    """Read the header of a post; never raises."""
    header = read_header(content)
    post = Post(
        reverse_path=item.reverse_path,
        size=len(content),
        authors=read_addresses(header, "from"),
        senders=read_addresses(header, "sender"),
        list_ids=_list_ids(header),
        list_posts=(*_mailtos(header, "list-post"), *read_addresses(header, "x-beenthere")),
    )
    return ReadPost(
        header, post, shown_value(header.values("subject")[0])[:200] if header.values("subject") else ""
    )


def read_addresses(header: Header, name: str) -> tuple[str, ...]:
    """Return the addresses of every field of this name; what cannot be read has none."""
    found: list[str] = []
    for value in header.values(name):
        try:
            pairs = getaddresses([_text(value)])
        except _SEEN_ON_REAL_MAIL:
            continue
        found += [address for _, address in pairs if "@" in address]
    return tuple(found[:MAX_ADDRESSES])


def _list_ids(header: Header) -> tuple[str, ...]:
    """Return the identifiers of List-Id fields: what stands in the last angle brackets (RFC 2919 3)."""
    found = []
    for value in header.values("list-id"):
        text = _text(value)
        inside = _ANGLE.findall(text)
        found.append((inside[-1] if inside else text).strip())
    return tuple(found)


def _mailtos(header: Header, name: str) -> tuple[str, ...]:
    """Return the addresses of mailto URLs in a field of RFC 2369."""
    return tuple(address for value in header.values(name) for address in _MAILTO.findall(_text(value)))


def _text(value: bytes) -> str:
    return value[:MAX_VALUE].decode("utf-8", "replace")
