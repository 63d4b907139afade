"""Which list, purpose and queue a recipient names: the suffix table, and the way back from a list to its addresses.

The table is data: the built-in rows are here, a site adds its own with `[runners.QUEUE] addresses`. Pure; what the sender has to do
with it is policy.py's matter, what a token is worth is the runner's.

The one rule: the longest list name that fits wins. So a list called "ant-owner" wins over the owner address of "ant", and
"ant-bounces+TOKEN" is a bounce of "ant" even when there is a list "ant-bounces".
"""

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from typing import Protocol

from msgspec import Struct

from config.names import BOUNCES, CONFIRM, INCOMING, MEMBERSHIP, OWNER, REQUEST, ListId, Queue
from config.settings import Settings
from lists.errors import BadAddress, BadSuffix, ForeignDomain, UnknownList
from lists.mailbox import MAX_ADDRESS, address_key, check_address, fold_domain, unquote

POSTMASTER = "postmaster"  # every domain must have it (RFC 5321 4.5.1)
SITE_MAILBOXES = frozenset(
    {POSTMASTER, "abuse"}
)  # ... and should have this (RFC 2142 4); they reach the site's owner

_LIST_NAME = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LIST_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_SUFFIX = re.compile(r"-[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")


class Destination(Struct, frozen=True):
    """Where mail for one recipient goes."""

    list_id: ListId  # "": the site itself
    queue: Queue
    purpose: str  # post, bounce, confirm, join, leave, owner, admin, request; else a site's own queue
    token: str  # what stands after the delimiter, as sent; "" for none
    name: str  # the list's posting address, in lower case; for the site the mailbox that was named
    address: str = ""  # the recipient as every spelling of it compares: lower case, no needless quotes, the domain that has the list


class Suffix(Struct, frozen=True):
    """One row of the table: how an address of this purpose ends."""

    text: str  # "-bounces"; "" is the posting address
    purpose: str
    queue: Queue
    plain: bool = True  # without a token
    token: bool = False  # with delimiter and token


class Named(Protocol):
    """What a list must tell to get an address: MailingList does."""

    @property
    def name(self) -> str: ...
    @property
    def domain(self) -> str: ...


class Names(Struct, frozen=True):
    """Every address that is ours, as far as routing must know."""

    lists: Mapping[str, ListId]  # posting address in lower case
    domains: Container[str]  # in lower case
    aliases: Mapping[str, str] = {}  # other name of a domain -> the domain, both in lower case
    mailboxes: Container[str] = SITE_MAILBOXES  # local-parts that reach the site's owner

    @classmethod
    def of(
        cls,
        lists: Mapping[str, ListId],
        domains: Iterable[str] = (),
        aliases: Mapping[str, str] | None = None,
        mailboxes: Iterable[str] = SITE_MAILBOXES,
    ) -> "Names":
        """Make names; without `domains` every domain that has a list is ours. An alias of a domain that is not ours is none."""
        ours = frozenset(fold_domain(domain) for domain in domains) or frozenset(
            address.rpartition("@")[2] for address in lists
        )
        known = {alias: domain for alias, domain in fold_aliases(aliases or {}).items() if domain in ours}
        return cls(lists, ours, known, frozenset(mailboxes) | {POSTMASTER})

    def alias_domains(self, mailing_list: Named) -> tuple[str, ...]:
        """Return the domains that are other names of this list's domain, sorted."""
        return tuple(sorted(alias for alias, domain in self.aliases.items() if domain == mailing_list.domain))


POST = Suffix("", "post", INCOMING)
BUILT_IN = (
    POST,
    Suffix("-bounces", "bounce", BOUNCES, token=True),
    Suffix("-confirm", "confirm", CONFIRM, token=True),
    Suffix("-join", "join", MEMBERSHIP),
    Suffix("-leave", "leave", MEMBERSHIP),
    Suffix("-subscribe", "join", MEMBERSHIP),
    Suffix("-unsubscribe", "leave", MEMBERSHIP),
    Suffix("-owner", "owner", OWNER),
    Suffix("-admin", "admin", OWNER),
    Suffix("-request", "request", REQUEST),
)
# The purpose of what a site adds to a built-in queue; mail for a queue of its own has the queue's name as purpose.
_PURPOSE_OF_QUEUE = {INCOMING: "post", BOUNCES: "bounce"}


class Suffixes(Struct, frozen=True):
    """The whole table, and what stands between an address and its token."""

    rows: tuple[Suffix, ...] = BUILT_IN
    delimiter: str = "+"

    @classmethod
    def from_settings(cls, settings: Settings) -> "Suffixes":
        """Add the site's own addresses to the built-in ones; raises BadSuffix."""
        rows = {row.text: row for row in BUILT_IN}
        for queue, runner in settings.runners.items():
            for text in runner.addresses:
                row = _read_suffix(Queue(queue), text, settings.site.delimiter)
                known = rows.get(row.text, row)
                if known.queue != row.queue:
                    raise BadSuffix(queue, text, f"belongs to the queue {known.queue} already")
                rows[row.text] = Suffix(
                    row.text, known.purpose, row.queue, known.plain or row.plain, known.token or row.token
                )
        return cls(tuple(rows.values()), settings.site.delimiter)

    def match(self, local: str) -> Iterator[tuple[str, Suffix, str]]:
        """Give every way to read a local-part, as list name, row and token; the longest name first."""
        folded = local.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")
        found = []  # bytes.lower() touches ASCII alone, so that positions in `local` stay what they are
        for row in self.rows:
            if row.plain and folded.endswith(row.text):
                found.append((len(folded) - len(row.text), row, ""))
            if row.token:
                found.extend(self._with_token(local, folded, row))
        found.sort(key=_longest_first)
        return ((folded[:end], row, token) for end, row, token in found if end > 0)

    def _with_token(self, local: str, folded: str, row: Suffix) -> Iterator[tuple[int, Suffix, str]]:
        opening = row.text + self.delimiter
        at = folded.find(opening)
        while at >= 0:
            yield at, row, local[at + len(opening) :]
            at = folded.find(opening, at + 1)

    def row(self, purpose: str) -> Suffix:
        """Return the row whose address stands for `purpose`; raises KeyError for a purpose that has none."""
        for row in self.rows:
            if row.purpose == purpose:
                return row
        raise KeyError(purpose)


def _longest_first(found: tuple[int, Suffix, str]) -> int:
    return -found[0]


def _read_suffix(queue: Queue, text: str, delimiter: str) -> Suffix:
    """Read "-archive" or "-archive+*"; the "+" may also be the site's delimiter."""
    head = text.lower()
    token = head.endswith("*") and head[-2:-1] in ("+", delimiter)
    if token:
        head = head[:-2]
    if not _SUFFIX.fullmatch(head):
        raise BadSuffix(queue, text, 'is not of the form "-archive" or "-archive+*"')
    return Suffix(head, _PURPOSE_OF_QUEUE.get(queue, queue), queue, plain=not token, token=token)


DEFAULT_SUFFIXES = Suffixes()


def split_recipient(recipient: str, names: Names, suffixes: Suffixes = DEFAULT_SUFFIXES) -> Destination:
    """Find the list and the purpose that a recipient names.

    `recipient` is as sent, without "<>"; the local-part is ours, so case is ignored (RFC 5321 2.4). Raises BadAddress
    (553 5.1.3), ForeignDomain (550 5.7.1) or UnknownList (550 5.1.1).
    """
    if len(recipient) > MAX_ADDRESS:
        raise BadAddress(recipient[:80], f"is longer than {MAX_ADDRESS} octets")
    local, at, domain = recipient.rpartition("@")
    if not at:
        if recipient.lower() == "postmaster":  # RFC 5321 4.1.1.3: with no domain at all
            return _site("postmaster")
        raise BadAddress(recipient, "has no @")
    domain = fold_domain(domain)
    known_as = names.aliases.get(domain)
    if known_as is None and domain not in names.domains:
        raise ForeignDomain
    local = unquote(local)
    for each in (domain,) if known_as is None else (domain, known_as):  # a list of its own in the alias wins
        for name, row, token in suffixes.match(local):
            posting = f"{name}@{each}"
            list_id = names.lists.get(posting)
            if list_id is not None:
                whole = f"{local.lower()}@{each}"
                return Destination(list_id, row.queue, row.purpose, token, posting, whole)
    if local.lower() in names.mailboxes:
        return _site(f"{local.lower()}@{known_as or domain}")
    raise UnknownList


def _site(mailbox: str) -> Destination:
    return Destination(ListId(""), OWNER, "owner", "", mailbox, mailbox)


def list_address(
    mailing_list: Named, purpose: str, token: str = "", suffixes: Suffixes = DEFAULT_SUFFIXES
) -> str:
    """Return a list's address for a purpose, "ant-bounces@example.org"; raises KeyError for a purpose without addresses."""
    tail = suffixes.delimiter + token if token else ""
    return f"{mailing_list.name}{suffixes.row(purpose).text}{tail}@{mailing_list.domain}"


def check_list_address(
    text: str, domains: Collection[str] = (), aliases: Mapping[str, str] | None = None
) -> str:
    """Return a new list's posting address in lower case; raises BadAddress.

    A name is a dot-atom of RFC 5322 3.2.3 in ASCII, since it becomes part of the List-Id (RFC 2919 3). With `domains`, only
    those; never in one of `aliases`, where every address belongs to the domain behind it.
    """
    name, _, domain = address_key(check_address(text)).rpartition("@")
    domain = fold_domain(domain)
    if not _LIST_NAME.fullmatch(name):
        raise BadAddress(text, "a list's name has letters a-z, digits, and . - _ + between them")
    if not _LIST_DOMAIN.fullmatch(domain):
        raise BadAddress(text, "a list needs a domain name after the @")
    behind = fold_aliases(aliases or {}).get(domain)
    if behind is not None:
        raise BadAddress(
            text,
            f"{domain} is another name of {behind} ([site] domain_aliases); a list {name}@{behind} has this address too",
        )
    ours = [fold_domain(each) for each in domains]
    if ours and domain not in ours:
        raise BadAddress(text, f"the domain is not ours; [site] domains has {', '.join(ours)}")
    return f"{name}@{domain}"


def fold_aliases(aliases: Mapping[str, str]) -> dict[str, str]:
    """Return `[site] domain_aliases` in the spelling in which domains are compared."""
    return {fold_domain(alias): fold_domain(domain) for alias, domain in aliases.items()}


def list_id_of(address: str) -> ListId:
    """Return the list-id of a posting address (RFC 2919 3): "ant@example.org" is "ant.example.org"."""
    name, _, domain = address.rpartition("@")
    return ListId(f"{name}.{domain}")
