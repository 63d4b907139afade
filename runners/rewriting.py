"""What a list writes into the header of a post: the fields of RFC 2369 and 2919, the subject prefix, the mark that stops loops. Pure.

Fields that are neither a list's nor named here keep every octet, so that signatures over them hold.
"""

from urllib.parse import quote

from lists.address import Suffixes, list_address
from lists.model import MailingList
from runners.headers import Header, edit_header, prefix_subject

# Another list's fields would send replies and unsubscriptions there (RFC 2369 4); List-Unsubscribe-Post belongs to a URL that goes (RFC 8058).
# Return-Path and Delivered-To are written at the final delivery alone (RFC 5321 4.4); the latter makes MTAs see a loop.
REPLACED = (
    "list-id",
    "list-post",
    "list-help",
    "list-subscribe",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-owner",
    "list-archive",
    "precedence",
    "return-path",
    "delivered-to",
)
# Survives other lists, which replace List-Id and List-Post: A that is a member of B that is a member of A ends here.
LOOP_MARK = "X-BeenThere"


def rewrite_post(content: bytes, header: Header, mailing_list: MailingList, suffixes: Suffixes) -> bytes:
    """Return a post as its list sends it; doing it again changes nothing."""
    prefix = mailing_list.settings.subject_prefix
    return edit_header(
        content,
        header,
        drop=REPLACED,
        add=[*_marks(header, mailing_list.address), *list_fields(mailing_list, suffixes)],
        change={"subject": prefix_subject(prefix)} if prefix.strip() else None,
    )


def list_fields(mailing_list: MailingList, suffixes: Suffixes) -> list[tuple[str, str]]:
    """Return a list's own header fields; each address in them routes to this list."""

    def mailto(purpose: str, query: str = "") -> str:
        address = list_address(mailing_list, purpose, suffixes=suffixes)
        return f"<mailto:{quote(address, safe='@')}{query}>"  # RFC 6068 2

    return [
        ("List-Id", f"<{mailing_list.list_id}>"),
        ("List-Post", mailto("post")),
        ("List-Help", mailto("request", "?subject=help")),
        ("List-Subscribe", mailto("join")),
        ("List-Unsubscribe", mailto("leave")),
        ("List-Owner", mailto("owner")),
        ("Precedence", "list"),
    ]


def mark(content: bytes, header: Header, address: str) -> bytes:
    """Return mail that is only passed on, with the mark of the address that does it and without what a delivery wrote."""
    return edit_header(content, header, drop=("return-path", "delivered-to"), add=_marks(header, address))


def has_mark(header: Header, address: str) -> bool:
    """Has this mail been through that address before?"""
    return any(value.lower() == address.lower().encode() for value in header.values(LOOP_MARK.lower()))


def _marks(header: Header, address: str) -> list[tuple[str, str]]:
    return [] if has_mark(header, address) else [(LOOP_MARK, address)]
