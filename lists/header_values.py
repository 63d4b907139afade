"""What header fields say, read from octets under limits: text, addresses, identifiers. Nothing here raises or takes long.

Text is decoded by expressions of our own: `email` needs 12 s for 20,000 encoded words. Addresses are read by `email`, which knows the old
forms, but only what no plain expression takes, a bounded part of it, and what it raises means: no address. It takes 2 us an octet at worst.
"""

import binascii
import re
from collections.abc import Iterable, Sequence
from email.utils import getaddresses

from lists.headers import Header

# Octets of one field, and of all fields of one name for header_matches, that are looked at; Sendmail's MaxHeadersLength is 32 KiB for a whole header.
MAX_VALUE = 32 * 1024
MAX_SAME = 100  # fields of one name that header_matches looks at
# Octets of all From: fields (of all Sender:, and so on) in which addresses are looked for in the dialogue: 40 of them, 4 ms at worst.
MAX_ADDRESSES = 2 * 1024
MAX_SHOWN = 2000  # octets of a subject that are shown to people
MAX_WORDS = 200  # encoded words decoded in one value; what follows is kept as it stands

# encoded-word of RFC 2047 2, with the language of RFC 2231 5. White space between two of them is not shown (6.2).
_ENCODED_WORD = re.compile(
    rb"=\?([A-Za-z0-9_.:-]{1,40})(?:\*[A-Za-z0-9-]{0,40})?\?([bBqQ])\?([^? \t]*)\?=(?:[ \t]+(?==\?[!->@-~]+\?[bBqQ]\?[^? \t]*\?=))?"
)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Charsets of mail. Python has codecs that are no charsets, and some of them take quadratic time (punycode).
_CHARSET = re.compile(
    r"utf-?8|us-ascii|ascii|iso-?8859-\d{1,2}|(?:windows|cp)-?125\d|koi8-[rut]|gb2312|gbk|gb18030|big5(?:-hkscs)?"
    r"|euc-(?:jp|kr)|iso-2022-(?:jp|kr)|shift[_-]jis|tis-620|macintosh"
)
_ADDRESS = (
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)
# One mailbox (RFC 5322 3.4) in the forms that nearly all mail has. Nothing in it can be a comment, group, route or escape.
_MAILBOX = re.compile(
    rf"""(?:"[^"\\\x00-\x1f\x7f]*"[ \t]*|[^\x00-\x1f\x7f"\\()<>@,:;\[\]]*)<({_ADDRESS})>|({_ADDRESS})"""
)
_RAISED_ON_REAL_MAIL = (ValueError, LookupError, AttributeError, TypeError, RecursionError)  # by getaddresses
_ANGLE = re.compile(r"<([^<>]*)>")
_COMMENT = re.compile(r"\([^()]*\)")
_MAILTO = re.compile(r"mailto:([^?<>\s,]+)", re.IGNORECASE)


# Text -----------------------------------------------------------------------------------------------------------------


def plain_text(value: bytes) -> str:
    """Return a value as text without decoding words: UTF-8 (RFC 6532), else each octet as the letter of Latin-1."""
    value = value[:MAX_VALUE]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def shown_text(value: bytes) -> str:
    """Return a value as a reader sees it, RFC 2047 decoded; a word that cannot be decoded stays as it stands."""
    if b"=?" not in value:
        return plain_text(value)
    value = value[:MAX_VALUE]
    text: list[str] = []
    run: tuple[str, bytes] = ("", b"")  # neighbours of one charset: some writers cut a letter in two
    position = 0
    for number, word in enumerate(_ENCODED_WORD.finditer(value)):
        octets = _decode_word(word) if number < MAX_WORDS else None
        charset = word[1].decode("ascii").lower()
        if octets is None or word.start() > position or charset != run[0]:
            text += (_decode_run(*run), plain_text(value[position : word.start()]))
            run = ("", b"")
        if octets is None:
            text.append(plain_text(word[0]))
        else:
            run = charset, run[1] + octets
        position = word.end()
    return "".join((*text, _decode_run(*run), plain_text(value[position:])))


def _decode_word(word: re.Match[bytes]) -> bytes | None:
    """Return the octets of an encoded word; None: it is none after all."""
    if not _CHARSET.fullmatch(word[1].decode("ascii").lower()):
        return None
    try:
        return binascii.a2b_base64(word[3]) if word[2] in b"bB" else binascii.a2b_qp(word[3], header=True)
    except binascii.Error:
        return None


def _decode_run(charset: str, octets: bytes) -> str:
    try:
        return octets.decode(charset, "replace") if octets else ""
    except LookupError:  # of this form, but Python does not know it: iso-8859-12
        return plain_text(octets)


def decode_text(octets: bytes, charset: str) -> str:
    """Return octets as text; a charset that mail is not written in, or that does not exist, is read as UTF-8 with replacements."""
    known = charset.lower() if _CHARSET.fullmatch(charset.lower()) else "utf-8"
    try:
        return octets.decode(known, "replace")
    except LookupError:
        return octets.decode("utf-8", "replace")


def all_shown(header: Header, name: str) -> tuple[str, ...]:
    """Return what the fields of this name say, to a reader and, where words are encoded, as they stand; under MAX_SAME and MAX_VALUE."""
    texts: list[str] = []
    left = MAX_VALUE
    for value in header.values(name)[:MAX_SAME]:
        value = value[:left]
        left -= len(value)
        texts.append(shown_text(value))
        if b"=?" in value:
            texts.append(plain_text(value))
    return tuple(texts)


def first_shown(header: Header, name: str, limit: int = MAX_SHOWN) -> str:
    """Return the first field of this name as a reader sees its first `limit` octets, "" when there is none.

    Control characters are spaces, those that encoded words hide too: it goes into the list store, where PostgreSQL takes no NUL, and onto terminals.
    """
    values = header.values(name)
    return _CONTROL.sub(" ", shown_text(values[0][:limit])) if values else ""


# Addresses ------------------------------------------------------------------------------------------------------------


def read_addresses(header: Header, names: Iterable[str], limit: int = MAX_VALUE) -> tuple[str, ...]:
    """Return the addresses of every field of these names, in order; what cannot be read has none.

    `limit`: octets of all these fields that are read; an address that it cuts in two is left out.
    """
    found: list[str] = []
    for name in names:
        for value in header.values(name):
            found += _read_mailboxes(value[:limit], is_cut=len(value) > limit)
            limit -= min(limit, len(value))
    return tuple(found)


def _read_mailboxes(value: bytes, *, is_cut: bool) -> Sequence[str]:
    if is_cut:
        value = value.rpartition(b",")[0]
    text = plain_text(value)
    plain = _MAILBOX.fullmatch(text)
    if plain:
        return (plain[1] or plain[2],)
    try:
        return [address for _, address in getaddresses([text]) if "@" in address]
    except _RAISED_ON_REAL_MAIL:
        return ()


def read_list_ids(header: Header) -> tuple[str, ...]:
    """Return the identifiers of List-Id fields: what stands in the last angle brackets (RFC 2919 3)."""
    found = []
    for value in header.values("list-id"):
        text = plain_text(value)
        inside = _ANGLE.findall(text)
        found.append((inside[-1] if inside else text).strip())
    return tuple(found)


def read_mailtos(header: Header, name: str) -> tuple[str, ...]:
    """Return the addresses of mailto URLs in a field of RFC 2369."""
    return tuple(address for value in header.values(name) for address in _MAILTO.findall(plain_text(value)))


def first_word(value: bytes) -> str:
    """Return the first token of a value in lower case, without parameters and comments: Auto-Submitted (RFC 3834 5), Precedence."""
    text = _COMMENT.sub(" ", plain_text(value[:200])).strip()
    return re.split(r"[\s;(]", text, maxsplit=1)[0].lower()
