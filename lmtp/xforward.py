"""XFORWARD, Postfix's extension: an MTA says for which client it speaks. Octets of one command in, attributes out; and their sum.

Clauses are those of Postfix's XFORWARD_README. What comes out is for logs, items and the trace, and says whose guesses at members are counted
(guesses.py); no verdict rests on it. It is never mixed with what is known of the peer itself. Trusts that a peer which may use it tells the truth: who
may is peers.py's, when is states.py's.
"""

import re
from collections.abc import Callable
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

KEYWORD: Final = "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"  # as LHLO offers it
MAX_VALUE: Final = 255  # characters of a value when decoded (README, note 1; so long is a DNS name)
MAX_PROTO: Final = 64  # characters, README
MAX_PORT: Final = 65535

Value = str | int

# attribute       = attribute-name "=" attribute-value
# attribute-name  = "NAME" / "ADDR" / "PORT" / "PROTO" / "HELO" / "IDENT" / "SOURCE"    ; in any case
# attribute-value = xtext                                                                 ; RFC 3461 4
# Old clients do not encode (README, note 4), so a "=" within a value is let through; a "+" must be an encoded octet.
_attribute = re.compile(rb"([A-Za-z]+)=([!-*,-~]|\+[0-9A-Fa-f]{2})+").fullmatch
# hexchar = "+" 2HEXDIG
_hexchar = re.compile(rb"\+([0-9A-Fa-f]{2})")
# unavailable = "[UNAVAILABLE]" / "[TEMPUNAVAIL]"    ; in any case (README, note 3); the second says that DNS failed for now
_UNAVAILABLE: Final = (b"[UNAVAILABLE]", b"[TEMPUNAVAIL]")
# What a value may not hold when decoded: control characters, white space and 8-bit octets (README, note 1) ...
_unfit = re.compile(rb"[^!-~]").search
# ... and what would mean something in a header: Postfix makes "?" of it. Brackets and colons stay, for HELO may be "[IPv6:::1]".
_special = re.compile(rb'[<>()\\";@,]')
# port = 1*5DIGIT
_port = re.compile(rb"[0-9]{1,5}").fullmatch


class Forwarded(Struct, frozen=True):
    """For whom a peer speaks; "" and 0: it does not know, or did not say."""

    name: str = ""  # host name that the DNS gives
    addr: str = ""  # IP address, without a prefix
    port: int = 0
    proto: str = ""  # ESMTP, LMTP, ...
    helo: str = ""
    ident: str = ""  # the MTA's queue id
    source: str = ""  # LOCAL or REMOTE

    def known(self) -> dict[str, Value]:
        """Return what is known of it, as items and log lines say it."""
        return {key: value for key, value in asdict(self).items() if value}


def read_attributes(argument: bytes) -> dict[str, Value] | None:
    """Read what follows the verb; None for what is no list of attributes, or has an unknown one, or a value that its attribute cannot have.

    A value that is not available becomes what Forwarded has without it. An attribute given twice has its last value.
    """
    given: dict[str, Value] = {}
    for word in argument.split():
        if not _attribute(word):
            return None
        name, _, encoded = word.partition(b"=")
        read = _READERS.get(name.upper())
        if read is None:
            return None
        key = name.lower().decode()
        if encoded.upper() in _UNAVAILABLE:
            given[key] = _NOTHING[key]
            continue
        value = _decode(encoded)
        known = read(value) if value else None
        if known is None:
            return None
        given[key] = known
    return given or None


def _decode(encoded: bytes) -> bytes | None:
    value = _hexchar.sub(lambda match: bytes.fromhex(match[1].decode()), encoded)
    return None if len(value) > MAX_VALUE or _unfit(value) else value


def _read_text(value: bytes) -> str:
    return _special.sub(b"?", value).decode("ascii")


def _read_addr(value: bytes) -> str | None:
    """addr = IPv4-address-literal / "IPV6:" IPv6-address-literal    ; a mapped IPv4 address is that IPv4 address"""
    text = value.decode("ascii")
    try:
        if text[:5].upper() == "IPV6:":
            address = IPv6Address(text[5:])
            return (
                None if address.scope_id else str(address.ipv4_mapped or address)
            )  # a zone means nothing elsewhere
        return str(IPv4Address(text))
    except AddressValueError:
        return None


def _read_port(value: bytes) -> int | None:
    return int(value) if _port(value) and int(value) <= MAX_PORT else None


def _read_proto(value: bytes) -> str | None:
    return _read_text(value) if len(value) <= MAX_PROTO else None


def _read_source(value: bytes) -> str | None:
    source = value.upper().decode("ascii")
    return source if source in ("LOCAL", "REMOTE") else None


_READERS: Final[dict[bytes, Callable[[bytes], Value | None]]] = {
    b"NAME": _read_text,
    b"ADDR": _read_addr,
    b"PORT": _read_port,
    b"PROTO": _read_proto,
    b"HELO": _read_text,
    b"IDENT": _read_text,
    b"SOURCE": _read_source,
}
_NOTHING: Final[dict[str, Any]] = asdict(Forwarded())
