"""Writes the mail that Postroom sends by itself, for a Permit of the gate: confirmations, answers, notices, probes. Pure but for the template files.

The only place that hands mail of our own to outgoing. A notice is plain text from a template, says that software sent it (RFC 3834 5), and quotes
nothing of the mail that caused it: what strangers write must not travel in our name. The same permit, values and time give the same
octets, so that a handler that runs twice sends one mail.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from typing import Final

from msgspec import Struct

from bus.messages import Item
from config.names import OUTGOING, id_about
from lists.address import Suffixes, list_address
from lists.gate import Permit
from lists.mailbox import check_address
from lists.model import MailingList
from runners.outcome import Output
from runners.phrases import Value, spell
from runners.texts import Texts

MAX_LINE: Final = 900  # octets of a line that leaves as it is (RFC 5322 2.1.1: 998)
MAX_SUBJECT: Final = 200  # characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# RFC 5322 3.2.3: needs quotes, which the standard library forgets for a long name in UTF-8; then the name would be read as addresses.
_SPECIAL = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029()<>\[\]:;@\\,"]+')
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")


class Desk(Struct, frozen=True, kw_only=True):
    """What all notices of one list are written with."""

    texts: Texts
    suffixes: Suffixes
    site: str  # the host name that this site gives as its own
    site_owner: str
    mailing_list: MailingList | None  # None: the site itself writes
    language: str = ""  # of the reader; "": the site's


def write_notice(
    permits: Sequence[Permit],
    template: str,
    desk: Desk,
    item: Item,
    now: datetime,
    *,
    values: Mapping[str, Value] | None = None,
    sender: str = "",
    subject_tail: str = "",
    reverse_path: str | None = None,
) -> Output:
    """Write one notice; the output belongs into the Ack that is stored with the budget of each permit.

    `permits` is at least one, all of one kind and cause; several get one mail, whose To: is LIST-owner@, for only those who answer for a list are told together. `template` is the name of its text, `values` what the text names beside the standard ones; `sender` is From: (LIST-owner@ unless said; a
    confirmation comes from LIST-confirm+TOKEN@, so that a reply confirms); `subject_tail` is added to the subject ("confirm TOKEN");
    `reverse_path` is for a probe's own. Raises KeyError for an unknown template, BadTemplate for one that wants other values.
    """
    permit, standard = permits[0], standard_values(desk)
    reader = permit.address if len(permits) == 1 else standard["owner_address"]
    language = desk.texts.known(desk.language)
    given = {
        name: _NOT_TEXT.sub(" ", spell(value, language))
        for name, value in {**standard, "address": reader, **(values or {})}.items()
    }
    subject, body = desk.texts.fill(template, given, desk.mailing_list, desk.language)
    sender = sender or standard["owner_address"]
    named = (*(each.address for each in permits), sender, standard.get("list_id", ""))
    is_ascii = all(address.isascii() for address in named)
    message = EmailMessage(SMTP if is_ascii else SMTPUTF8)
    message["From"] = _mailbox(sender, standard["list_name"])
    message["To"] = _mailbox(reader)
    message["Subject"] = " ".join((_CONTROL.sub(" ", subject)[:MAX_SUBJECT], subject_tail)).strip()
    message["Date"] = format_datetime(now)
    message["Message-ID"] = (
        f"<{id_about(f'{item.id}|{permit.kind.text}|{template}|{permit.address}')}@{desk.site}>"
    )
    _add_fields(message, permit)
    is_plain = body.isascii() and max(map(len, body.splitlines()), default=0) <= MAX_LINE
    message.set_content(body, cte="7bit" if is_plain else "quoted-printable")
    return Output(
        OUTGOING,
        content=_list_id_field(desk) + message.as_bytes(),
        recipient=permit.address if len(permits) == 1 else None,
        recipients=tuple(each.address for each in permits) if len(permits) > 1 else (),
        reverse_path=reverse_path
        if reverse_path is not None
        else (None if permit.kind.wants_bounces else ""),
        list_id=desk.mailing_list.list_id if desk.mailing_list else None,
        args={"notice": permit.kind.text},
    )


def standard_values(desk: Desk) -> dict[str, str]:
    """Return what every text may name."""
    mailing_list = desk.mailing_list
    if mailing_list is None:
        owner = desk.site_owner or f"postmaster@{desk.site}"
        return {"list_name": desk.site, "owner_address": owner, "site_name": desk.site}

    def address(purpose: str) -> str:
        return list_address(mailing_list, purpose, suffixes=desk.suffixes)

    return {
        "list_name": mailing_list.settings.display_name or mailing_list.name,
        "list_address": mailing_list.address,
        "list_id": mailing_list.list_id,
        "list_description": mailing_list.settings.description,
        "owner_address": address("owner"),
        "request_address": address("request"),
        "join_address": address("join"),
        "leave_address": address("leave"),
        "site_name": desk.site,
    }


def _add_fields(message: EmailMessage, permit: Permit) -> None:
    cause = permit.cause
    message["Auto-Submitted"] = "auto-replied" if cause is not None else "auto-generated"
    if cause is not None and _MESSAGE_ID.fullmatch(cause.message_id):  # RFC 3834 3.1.5
        message["In-Reply-To"] = message["References"] = cause.message_id
    message["Precedence"] = "bulk"  # older vacation programs look at nothing else
    message["X-Auto-Response-Suppress"] = "All"  # Exchange looks at this alone


def _list_id_field(desk: Desk) -> bytes:
    """Return List-Id as octets: the standard library would fold one over 66 characters into encoded words (RFC 2919 3 has none)."""
    return f"List-Id: <{desk.mailing_list.list_id}>\r\n".encode() if desk.mailing_list else b""


def _mailbox(address: str, name: str = "") -> Address:
    """Return an address for a header; a quoted local-part is given unquoted, as headerregistry wants it."""
    local, _, domain = check_address(address).rpartition("@")
    if local.startswith('"'):
        local = re.sub(r"\\(.)", r"\1", local[1:-1])
    return Address(" ".join(_SPECIAL.sub(" ", name).split()), local, domain)
