"""A message to a list as the rules see it: its envelope, its size, and what its header says.

The front-end and the runners make it from the same octets, so both see the same facts. The header is read when the first rule asks for it, once
for all recipients of a transaction; a list whose rules need no header costs none. Nothing below the header is ever looked at.
"""

from collections.abc import Callable
from typing import Generic, Self, TypeVar, overload

from lists.header_values import (
    MAX_ADDRESSES,
    all_shown,
    first_shown,
    first_word,
    read_addresses,
    read_list_ids,
    read_mailtos,
)
from lists.headers import MAX_HEADER, Header, read_header
from lists.mailbox import address_key
from lists.senders import sender_keys

MAX_RECIPIENTS = 1000  # addresses of To: and Cc: that are counted and compared; people write to dozens
NO_HEADER = Header((), 0)


T = TypeVar("T")


class _fact(Generic[T]):
    """What functools.cached_property is, without a lock for each first look: a post belongs to one thread. Python 3.12's has none either."""

    def __init__(self, find: Callable[["Post"], T]) -> None:
        self._find = find
        self._name = find.__name__
        self.__doc__ = find.__doc__

    @overload
    def __get__(self, post: None, owner: type["Post"]) -> Self: ...
    @overload
    def __get__(self, post: "Post", owner: type["Post"]) -> T: ...
    def __get__(self, post: "Post | None", owner: type["Post"]) -> "T | Self":
        if post is None:
            return self
        found = post.__dict__[self._name] = self._find(post)
        return found


class Post:
    """One message and its reverse-path. Facts only: never changed, though some are found when first asked for."""

    def __init__(self, reverse_path: str, content: bytes | None) -> None:
        """`content` None: the message is not there (a question about its envelope)."""
        self.reverse_path = reverse_path
        self.size = len(content or b"")  # octets, RFC 1870
        self.content = content
        self._texts: dict[str, tuple[str, ...]] = {}

    @property
    def has_content(self) -> bool:
        """Is there a message?"""
        return self.content is not None

    @_fact
    def header(self) -> Header:
        """The header; an empty one when there is no message."""
        return NO_HEADER if self.content is None else read_header(self.content)

    def may_have(self, name: str) -> bool:
        """Might there be a field of this (lower-case) name? A search of octets: False is sure, True is not."""
        return name.encode() in self._block

    @_fact
    def _block(self) -> bytes:
        """The octets up to the first empty line, in lower case: the header, or more than it."""
        content = self.content or b""
        end = content.find(b"\r\n\r\n", 0, MAX_HEADER)
        return content[: end if end >= 0 else MAX_HEADER].lower()

    # Who -------------------------------------------------------------------------------------------------------------------

    @_fact
    def envelope_keys(self) -> tuple[str, ...]:
        """Keys of everybody whom the reverse-path may stand for."""
        return sender_keys(self.reverse_path)

    @_fact
    def authors(self) -> tuple[str, ...]:
        """Addresses of every From: field."""
        return read_addresses(self.header, ("from",), MAX_ADDRESSES)

    @_fact
    def senders(self) -> tuple[str, ...]:
        """Addresses of every Sender: field."""
        return read_addresses(self.header, ("sender",), MAX_ADDRESSES)

    @_fact
    def keys(self) -> tuple[str, ...]:
        """Keys of all who may have sent it: From:, Sender:, reverse-path, in this order; the first who is a member is its author."""
        named = [address_key(address) for address in (*self.authors, *self.senders)]
        return tuple(dict.fromkeys((*named, *self.envelope_keys)))

    # Where to, and where it has been ---------------------------------------------------------------------------------------

    @_fact
    def recipients(self) -> tuple[str, ...]:
        """Addresses of To: and Cc:, and of the same after Resent- (RFC 5322 3.6.3, 3.6.6)."""
        return read_addresses(self.header, ("to", "cc", "resent-to", "resent-cc"))[:MAX_RECIPIENTS]

    @_fact
    def marks(self) -> frozenset[str]:
        """What lists have written into it, in lower case: List-Id, and the addresses of List-Post, X-BeenThere, X-Loop."""
        addresses = (
            *read_mailtos(self.header, "list-post"),
            *read_addresses(self.header, ("x-beenthere", "x-loop"), MAX_ADDRESSES),
        )
        return frozenset(each.lower() for each in (*read_list_ids(self.header), *addresses))

    @_fact
    def delivered_to(self) -> tuple[str, ...]:
        """Addresses of every Delivered-To: field, in lower case."""
        return tuple(each.lower() for each in read_addresses(self.header, ("delivered-to",), MAX_ADDRESSES))

    # What ------------------------------------------------------------------------------------------------------------------

    @_fact
    def subject(self) -> str:
        """The subject as a reader sees it, its first 2,000 octets; "" for none."""
        return first_shown(self.header, "subject")

    def texts(self, name: str) -> tuple[str, ...]:
        """What the fields of this (lower-case) name say: see header_values.all_shown."""
        if name not in self._texts:
            self._texts[name] = all_shown(self.header, name)
        return self._texts[name]

    @_fact
    def auto_submitted(self) -> str:
        """The word of Auto-Submitted (RFC 3834 5), "no" when there is none."""
        return next(filter(None, map(first_word, self.header.values("auto-submitted"))), "no")

    @_fact
    def precedence(self) -> str:
        """The word of Precedence, "" when there is none."""
        return next(filter(None, map(first_word, self.header.values("precedence"))), "")
