"""What stands behind the delimiter of LIST-confirm+TOKEN@ and LIST-bounces+TOKEN@: making it, and checking it without a look-up.

Pure; the key is a value, secret.py reads it. Three forms, told apart by their length, all in lower-case base32 (RFC 4648 6 without
padding), compared without case, since MTAs on the way may change it:

- a confirm or probe token, 24 characters: 100 bits of HMAC over what it was made for, then 20 bits of keyed check. Whoever makes it keeps
  `token_hash` in the store, never the token. The same item makes the same tokens when it is handled again.
- a VERP token, 16 to 23 characters: 60 bits of HMAC, day and membership. It is not stored; it says by itself whose bounce this is.
- Mailman's, 40 hex digits: nothing here can check it; the runner that looks it up decides.

The check is there to refuse guesses at RCPT: 20 bits let one in a million through, and the look-up then fails. Used and expired
tokens pass the check, as they should. The limit for all of them is the local-part: with a list name of 31 octets it has 64 (RFC 5321 4.5.3.1.1).
"""

import hmac
import re
from datetime import date, timedelta
from hashlib import sha256
from typing import Final, Literal

from msgspec import Struct

from config.names import ItemId, ListId
from lists.mailbox import address_key

TokenKind = Literal["confirm", "probe"]

TOKEN_LENGTH: Final = 24  # characters of 5 bits: 20 of identity, 4 of check
MAX_MEMBERSHIP: Final = 1 << 40  # so that a VERP token is always shorter than the others
DAY_ZERO: Final = date(2020, 1, 1)  # 15 bits of days from here end in 2109

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_IDENTITY: Final = 20  # characters
_CHECK: Final = TOKEN_LENGTH - _IDENTITY
_VERP_MAC: Final = 12  # characters: 60 bits
_VERP_DAY: Final = 3
_VERP_HEAD: Final = _VERP_MAC + _VERP_DAY
_MAX_DAY: Final = 32**_VERP_DAY - 1

_is_token = re.compile(rf"[a-z2-7]{{{TOKEN_LENGTH}}}").fullmatch
_is_verp = re.compile(rf"[a-z2-7]{{{_VERP_HEAD + 1},{_VERP_HEAD + 8}}}").fullmatch
_is_hex40 = re.compile(r"[0-9a-f]{40}").fullmatch


class SiteKey(Struct, frozen=True):
    """The secret of this site; its repr does not tell it, so that it gets into no log."""

    secret: bytes

    def __repr__(self) -> str:
        return "SiteKey(...)"


class Verp(Struct, frozen=True):
    """What a VERP token says: the membership that a post was sent to, and the day on which."""

    membership_id: int
    day: date  # UTC


# Confirm and probe tokens ---------------------------------------------------------------------------------------------


def make_token(
    key: SiteKey, kind: TokenKind, item_id: ItemId, list_id: ListId, address: str, n: int = 0
) -> str:
    """Return the token that handling `item_id` gives to `address`; `n` tells several of one item and address apart.

    The same arguments give the same token, so that a handler that runs again sends the mail that it sent before.
    """
    mac = _mac(key, kind, item_id, list_id, address_key(address), str(n))
    identity = _spell(int.from_bytes(mac[:13]) >> 4, _IDENTITY)
    return identity + _check(key, kind, list_id, identity)


def is_genuine(key: SiteKey, kind: TokenKind, list_id: ListId, token: str) -> bool:
    """Is this a token that this site made for this purpose and list? Used and expired ones are; nothing is looked up."""
    token = token.lower()
    if not _is_token(token):
        return False
    return hmac.compare_digest(token[_IDENTITY:], _check(key, kind, list_id, token[:_IDENTITY]))


def is_old_form(token: str) -> bool:
    """Is this of the form of Mailman's confirm and probe tokens: 40 hex digits? Without a look-up nobody knows more."""
    return _is_hex40(token.lower()) is not None


def token_hash(token: str) -> str:
    """Return what the store keeps of a token of any form, and finds it by: 64 hex digits, the same for every spelling."""
    return sha256(token.lower().encode(errors="surrogatepass")).hexdigest()


def _check(key: SiteKey, kind: TokenKind, list_id: ListId, identity: str) -> str:
    return _spell(int.from_bytes(_mac(key, "check", kind, list_id, identity)[:3]) >> 4, _CHECK)


# VERP tokens ----------------------------------------------------------------------------------------------------------


def make_verp(key: SiteKey, list_id: ListId, membership_id: int, day: date) -> str:
    """Return the token of a post to one member on one day (UTC).

    Raises ValueError for a membership id outside 0 to 2**40 - 1 and for a day before 2020 or after 2109.
    """
    if not 0 <= membership_id < MAX_MEMBERSHIP:
        raise ValueError(f"a VERP token has no room for membership {membership_id}")
    number = (day - DAY_ZERO).days
    if not 0 <= number <= _MAX_DAY:
        raise ValueError(f"a VERP token has no room for {day}")
    member = _spell(membership_id, max(1, -(-membership_id.bit_length() // 5)))
    return _verp_mac(key, list_id, membership_id, number) + _spell(number, _VERP_DAY) + member


def read_verp(key: SiteKey, list_id: ListId, token: str, today: date, max_age_days: int) -> Verp | None:
    """Return what a VERP token says; None: not one of this site and list, or older than `max_age_days`.

    One from the future is taken: we signed it, and a clock that was put back must not lose bounces.
    """
    token = token.lower()
    if not _is_verp(token):
        return None
    number, member = _value(token[_VERP_MAC:_VERP_HEAD]), token[_VERP_HEAD:]
    if len(member) > 1 and member[0] == _ALPHABET[0]:  # one membership has one spelling
        return None
    if not hmac.compare_digest(token[:_VERP_MAC], _verp_mac(key, list_id, _value(member), number)):
        return None
    day = DAY_ZERO + timedelta(days=number)
    return Verp(_value(member), day) if (today - day).days <= max_age_days else None


def _verp_mac(key: SiteKey, list_id: ListId, membership_id: int, number: int) -> str:
    mac = _mac(key, "verp", list_id, str(membership_id), str(number))
    return _spell(int.from_bytes(mac[:8]) >> 4, _VERP_MAC)


# Both -----------------------------------------------------------------------------------------------------------------


def _mac(key: SiteKey, *parts: str) -> bytes:
    """Sign parts, each with its length before it, so that no two sets of parts are the same octets."""
    octets = (part.encode(errors="surrogatepass") for part in parts)
    return hmac.digest(key.secret, b"".join(b"%d:%b" % (len(part), part) for part in octets), "sha256")


def _spell(value: int, length: int) -> str:
    """Write a number in base32 with exactly so many characters, the most significant first."""
    return "".join(_ALPHABET[value >> 5 * place & 31] for place in range(length - 1, -1, -1))


def _value(text: str) -> int:
    value = 0
    for character in text:
        value = value << 5 | _VALUES[character]
    return value
