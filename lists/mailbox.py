"""The form of one mail address: checking it, cutting it in two, and the key under which it is compared.

An address is kept as it was written; wherever two are compared, their keys are: without case, quotes that are not needed taken off,
Unicode composed (RFC 6532 3.1), a domain of other letters as A-labels. Which list an address belongs to is address.py's matter.
"""

import re
import unicodedata

from lists.errors import BadAddress

MAX_ADDRESS = 320  # octets: 64 + "@" + 255 (RFC 5321 4.5.3.1); Postfix and Exim take about as much

# RFC 5321 4.1.2 with the letters of RFC 6531 3.3; C1 controls, surrogates, line separators and what turns the direction of text left out. Dots may stand anywhere:
# ".anne..b.@docomo.example" is wrong, but exists, and MTAs deliver to it.
_LETTER = "\u00a0-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff"
_ATOM = re.compile(rf"[A-Za-z0-9!#$%&'*+/=?^_`{{|}}~.\-{_LETTER}]+")
_QUOTED = re.compile(rf'"(?:[\x20\x21\x23-\x5b\x5d-\x7e{_LETTER}]|\\[\x20-\x7e])*"')
_LABEL = rf"[A-Za-z0-9{_LETTER}](?:[A-Za-z0-9\-_{_LETTER}]{{0,61}}[A-Za-z0-9{_LETTER}])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL = re.compile(r"\[[0-9A-Za-z:.\-]{3,}\]")
_PLAIN = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\-]+")
_ESCAPE = re.compile(r"\\(.)")


def check_address(text: str) -> str:
    """Return `text` if it is one mail address, "local@domain" without "<>"; raises BadAddress with the reason."""
    local, at, domain = text.rpartition("@")
    if not at:
        raise BadAddress(text, "has no @")
    if not (_ATOM.fullmatch(local) or _QUOTED.fullmatch(local)):
        raise BadAddress(text, "the part before the @ is empty or has characters that need quotes")
    if len(domain) > 255 or not (_DOMAIN.fullmatch(domain) or _LITERAL.fullmatch(domain)):
        raise BadAddress(text, "the part after the @ is not a domain")
    if len(text.encode()) > MAX_ADDRESS:
        raise BadAddress(text, f"is longer than {MAX_ADDRESS} octets")
    return text


def is_address(text: str) -> bool:
    """Is this one mail address, as `check_address` takes it?"""
    try:
        check_address(text)
    except BadAddress:
        return False
    return True


def address_key(address: str) -> str:
    """Return what `address` is compared by; never raises, so that a strange sender is only somebody we do not know."""
    if address.isascii() and not address.startswith('"'):
        return address.lower()
    local, at, domain = address.rpartition("@")
    local = unicodedata.normalize("NFC", unquote(local)).lower()
    return local + at + fold_domain(domain)


def fold_domain(domain: str) -> str:
    """Return a domain in lower case, letters outside ASCII as A-labels (RFC 5890 2.3.2.1)."""
    if domain.isascii():
        return domain.lower()
    try:
        return domain.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return domain.lower()


def unquote(local: str) -> str:
    """Take quotes off a local-part that does not need them: '"ant"' is 'ant' (RFC 5321 4.1.2, last paragraph)."""
    if len(local) < 2 or not (local.startswith('"') and local.endswith('"')):
        return local
    bare = _ESCAPE.sub(r"\1", local[1:-1])
    return bare if _PLAIN.fullmatch(bare) else local
