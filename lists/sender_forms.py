"""The grammar of reverse-paths that have somebody's address inside: each pattern with its ABNF and examples, which a test executes.

Pure. A form reads the key of an address (mailbox.address_key), cut at its last @: lower case, needless quotes gone. Patterns are built
of runs that end at "=", so each character is looked at once. A form is here only when the address inside is the author's. What
names the recipient (the VERP of a mailing service, bounces+123-ant=example.org@service.example) or only a service's own number
(Amazon SES, Google Groups, bounces+SRS=hash=time@ of Exchange) says nothing about the author, and stays as it is.

Terms: `sep` = "=" / "+" / "-"; `run` = 1*(any character but "=" and "@"); `domain` = `run` with a dot in it; `rest` = 1*(any).
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

Reading = Callable[[str, str], tuple[str, ...]]  # local-part and domain -> the addresses inside, () for none

_RUN = r"[^=@]+"
_SRS0 = re.compile(rf"srs0[=+-]({_RUN})=({_RUN})=({_RUN})=(.+)").fullmatch
_SRS1 = re.compile(rf"srs1[=+-]({_RUN})=({_RUN})=[=+-]({_RUN})=({_RUN})=({_RUN})=(.+)").fullmatch
_EXCHANGE = re.compile(rf"[^=@+]+\+srs=({_RUN})=({_RUN})=({_RUN})=(.+)").fullmatch
_PRVS = re.compile(rf"prvs=(?:({_RUN})=(.+)|([^=/]+)/({_RUN}))").fullmatch
_TAG = re.compile(r"[0-9a-f]{6,16}").fullmatch
_MSPRVS = re.compile(rf"(?:msprvs1=({_RUN})=|btv1==({_RUN})==)(.+)").fullmatch
_GATEWAY = re.compile(rf"(?:bounces?|returns?|verp)[-+_=]({_RUN})=({_RUN})").fullmatch
_SUBADDRESS = re.compile(rf"([^=@+]+)\+({_RUN})=({_RUN})").fullmatch


class Form(Struct, frozen=True):
    """One production."""

    name: str  # in `why`
    abnf: str
    read: Reading
    accepted: tuple[tuple[str, str], ...]  # reverse-path, address inside
    refused: tuple[str, ...]


def _read_srs0(local: str, _: str) -> tuple[str, ...]:
    found = _SRS0(local)
    return _address(found[4], found[3]) if found else ()


def _read_srs1(local: str, _: str) -> tuple[str, ...]:
    found = _SRS1(local)
    return _address(found[6], found[5]) if found else ()


def _read_exchange(local: str, _: str) -> tuple[str, ...]:
    found = _EXCHANGE(local)
    return _address(found[4], found[3]) if found else ()


def _read_batv(local: str, domain: str) -> tuple[str, ...]:
    """Read both orders; where each half could be the tag, both are tried, the draft's first."""
    found = _PRVS(local)
    if found is None:
        return ()
    if found[3] is not None:
        return _address(found[3], domain) if _is_tag(found[4]) else ()
    whole = local[len("prvs=") :]
    halves = whole.partition("=")[::2], whole.rpartition("=")[::-2]
    return tuple(f"{name}@{domain}" for tag, name in halves if _is_tag(tag) and name)


def _is_tag(text: str) -> bool:
    """Is this a BATV tag-val: hex digits, one of them a decimal one, for "decade" and "facade" are people?"""
    return _TAG(text) is not None and not text.isalpha()


def _read_tagged(local: str, domain: str) -> tuple[str, ...]:
    found = _MSPRVS(local)
    return _address(found[3], domain) if found else ()


def _read_gateway(local: str, domain: str) -> tuple[str, ...]:
    """Read what a gateway makes for its own users: only then is the address inside the author's, and not a recipient's."""
    found = _GATEWAY(local)
    if found is None or not f".{domain}".endswith(f".{found[2]}"):
        return ()
    return _address(found[1], found[2])


def _read_subaddress(local: str, domain: str) -> tuple[str, ...]:
    found = _SUBADDRESS(local)
    return _address(found[1], domain) if found and "." in found[3] else ()


def _address(local: str, domain: str) -> tuple[str, ...]:
    return (f"{local}@{domain}",) if "." in domain.strip(".") else ()


FORMS: Final = (
    Form(
        "srs0",
        '"SRS0" sep run "=" run "=" domain "=" rest  ; hash, time, then whose it was (Mail::SRS, libsrs2, PostSRSd, Exim)',
        _read_srs0,
        accepted=(
            ("SRS0=HHH=TT=example.net=anne@forward.example", "anne@example.net"),
            ("srs0+uSMU=or=example.net=a=b@forward.example", "a=b@example.net"),
            ("SRS0-/kC+=XH=example.net=anne+ant@forward.example", "anne+ant@example.net"),
        ),
        refused=(
            "SRS0=HHH=TT=anne@forward.example",
            "SRS0=HHH=TT=localhost=anne@forward.example",
            "SRS0.HHH=TT=example.net=anne@forward.example",
        ),
    ),
    Form(
        "srs1",
        '"SRS1" sep run "=" domain "=" sep run "=" run "=" domain "=" rest  ; the second forwarder: own hash, first forwarder, its SRS0',
        _read_srs1,
        accepted=(
            ("SRS1=GGG=first.example==HHH=TT=example.net=anne@second.example", "anne@example.net"),
            ("SRS1+GGG=first.example=+HHH=TT=example.net=anne@second.example", "anne@example.net"),
            ("srs1-GGG=first.example=-HHH=TT=example.net=a=b@second.example", "a=b@example.net"),
        ),
        refused=(
            "SRS1=GGG=first.example=HHH=TT=example.net=anne@second.example",
            "SRS1=GGG=first.example==HHH=TT=anne@second.example",
            "SRS1=GGG==HHH=TT=example.net=anne@second.example",
        ),
    ),
    Form(
        "srs-exchange",
        '1*(any but "=" "@" "+") "+SRS=" run "=" run "=" domain "=" rest  ; Exchange Online: forwarding mailbox, hash, time, author',
        _read_exchange,
        accepted=(
            ("john.work+SRS=44ldt=IX=example.net=anne@forward.example", "anne@example.net"),
            ("j+srs=a/b1c=ix=mail.example.net=anne.b@forward.example", "anne.b@mail.example.net"),
            ("j+SRS=44ldt=IX=example.net=a=b@forward.example", "a=b@example.net"),
        ),
        refused=(
            "bounces+SRS=44ldt=IX@forward.example",
            "+SRS=44ldt=IX=example.net=anne@forward.example",
            "john+SRS=44ldt=IX=example=anne@forward.example",
        ),
    ),
    Form(
        "batv",
        '"prvs=" tag-val "=" rest / "prvs=" rest "=" tag-val / "prvs=" run "/" tag-val  ; tag-val = 6*16HEXDIG (draft-levine-smtp-batv; IronPort; early drafts)',
        _read_batv,
        accepted=(
            ("prvs=0123456789=anne@example.net", "anne@example.net"),
            ("prvs=anne=123ABCD0@example.net", "anne@example.net"),
            ("prvs=anne/0123abcdef@example.net", "anne@example.net"),
        ),
        refused=(
            "prvs=anne@example.net",
            "prvs=anne=bart@example.net",
            "prvs=0123456789=@example.net",
        ),
    ),
    Form(
        "batv-like",
        '"msprvs1=" run "=" rest / "btv1==" run "==" rest  ; the private tags of Message Systems and Barracuda',
        _read_tagged,
        accepted=(
            ("msprvs1=17785sZq0bTn3=anne@example.net", "anne@example.net"),
            ("btv1==1234abcdef0==anne@example.net", "anne@example.net"),
            ("BTV1==99a==anne=b@example.net", "anne=b@example.net"),
        ),
        refused=(
            "msprvs1=anne@example.net",
            "btv1=1234abcdef0=anne@example.net",
            "btv1====anne@example.net",
        ),
    ),
    Form(
        "verp-gateway",
        '("bounce" ["s"] / "return" ["s"] / "verp") ("-" / "+" / "_" / "=") run "=" domain  ; and the domain outside is this one, or below it',
        _read_gateway,
        accepted=(
            ("bounces-anne=example.net@example.net", "anne@example.net"),
            ("bounce+anne=example.net@out.mail.example.net", "anne@example.net"),
            ("return_anne.b=mail.example.net@mail.example.net", "anne.b@mail.example.net"),
        ),
        refused=(
            "bounces-ant=example.org@service.example",
            "bounces-anne=example.net@notexample.net",
            "anne=example.net@example.net",
        ),
    ),
    Form(
        "verp",
        '1*(any but "=" "@" "+") "+" run "=" domain  ; "caf_=" has another "=" before it, so Gmail\'s automatic forwards do not match',
        _read_subaddress,
        accepted=(
            ("anne+ant=example.org@example.net", "anne@example.net"),
            ("anne.b+ant-users=lists.example.org@example.net", "anne.b@example.net"),
            ("anne+a+b=example.org@example.net", "anne@example.net"),
        ),
        refused=(
            "anne+caf_=ant=example.org@example.net",
            "anne+ant=now@example.net",
            "+ant=example.org@example.net",
        ),
    ),
)
