"""Which list and purpose a recipient names, and the way back."""

import string
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.names import ListId, Queue
from lists.address import (
    BUILT_IN,
    DEFAULT_SUFFIXES,
    Names,
    Suffixes,
    check_list_address,
    list_address,
    list_id_of,
    split_recipient,
)
from lists.errors import BadAddress, BadSuffix, ForeignDomain, UnknownList
from lists.model import MailingList
from tests.support.lists import make_settings

NAMES = Names.of({address: list_id_of(address) for address in ("ant@example.org", "ant-owner@example.org")})


@pytest.mark.parametrize(
    ("recipient", "list_id", "purpose", "queue", "token"),
    [
        ("ant@example.org", "ant.example.org", "post", "incoming", ""),
        ("ANT@Example.ORG", "ant.example.org", "post", "incoming", ""),
        ('"ant"@example.org', "ant.example.org", "post", "incoming", ""),
        ("ant-bounces@example.org", "ant.example.org", "bounce", "bounces", ""),
        ("ant-bounces+x=y.z@example.org", "ant.example.org", "bounce", "bounces", "x=y.z"),
        ("Ant-Bounces+aB+c=D@example.org", "ant.example.org", "bounce", "bounces", "aB+c=D"),
        ("ant-bounces+@example.org", "ant.example.org", "bounce", "bounces", ""),
        ("ant-bounces+tökén@example.org", "ant.example.org", "bounce", "bounces", "tökén"),
        ("ant-confirm+TOKEN@example.org", "ant.example.org", "confirm", "confirm", "TOKEN"),
        ("ant-confirm@example.org", "ant.example.org", "confirm", "confirm", ""),
        ("ant-join@example.org", "ant.example.org", "join", "membership", ""),
        ("ant-subscribe@example.org", "ant.example.org", "join", "membership", ""),
        ("ant-leave@example.org", "ant.example.org", "leave", "membership", ""),
        ("ant-unsubscribe@example.org", "ant.example.org", "leave", "membership", ""),
        ("ant-admin@example.org", "ant.example.org", "admin", "owner", ""),
        ("ant-request@example.org", "ant.example.org", "request", "request", ""),
        # a list whose own name ends in a suffix wins, and has all its own addresses
        ("ant-owner@example.org", "ant-owner.example.org", "post", "incoming", ""),
        ("ant-owner-owner@example.org", "ant-owner.example.org", "owner", "owner", ""),
        ("ant-owner-bounces+x@example.org", "ant-owner.example.org", "bounce", "bounces", "x"),
        # what every domain must have
        ("postmaster", "", "owner", "owner", ""),
        ("PostMaster", "", "owner", "owner", ""),
        ("Postmaster@example.org", "", "owner", "owner", ""),
        ("abuse@example.org", "", "owner", "owner", ""),
    ],
)
def test_a_recipient_names_a_list_and_a_purpose(
    recipient: str, list_id: str, purpose: str, queue: str, token: str
) -> None:
    found = split_recipient(recipient, NAMES)
    assert (found.list_id, found.purpose, found.queue, found.token) == (list_id, purpose, queue, token)


@pytest.mark.parametrize(
    ("recipient", "error"),
    [
        ("bee@example.org", UnknownList),
        ("ant+x@example.org", UnknownList),
        ("ant-request+x@example.org", UnknownList),
        ("-bounces@example.org", UnknownList),
        ("ant-archive@example.org", UnknownList),
        ("@example.org", UnknownList),
        ("ant@example.net", ForeignDomain),
        ("postmaster@example.net", ForeignDomain),
        ("ant@", ForeignDomain),
        ("ant", BadAddress),
        ("abuse", BadAddress),
        ("", BadAddress),
        ("a" * 400 + "@example.org", BadAddress),
    ],
)
def test_a_recipient_that_is_not_ours_is_refused_by_its_kind(recipient: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        split_recipient(recipient, NAMES)


def test_a_list_called_postmaster_wins_over_the_mailbox() -> None:
    names = Names.of({"postmaster@example.org": ListId("postmaster.example.org")})
    assert split_recipient("postmaster@example.org", names).purpose == "post"


def test_domains_of_the_configuration_are_ours_without_a_list_and_alone() -> None:
    names = Names.of({"ant@example.org": ListId("ant.example.org")}, ["Example.COM"])
    with pytest.raises(UnknownList):
        split_recipient("ant@example.com", names)
    with pytest.raises(ForeignDomain):
        split_recipient("ant@example.org", names)


# Other names of a domain, and the site's own mailboxes ----------------------------------------------------------------

MANY = {address: list_id_of(address) for address in ("ant@example.org", "bee@old.example")}
ALIASED = Names.of(MANY, ["example.org"], {"OLD.example": "Example.Org", "far.example": "foreign.example"})


@pytest.mark.parametrize(
    ("recipient", "name", "address"),
    [
        ("ant@old.example", "ant@example.org", "ant@example.org"),
        ('"ANT"@Old.Example', "ant@example.org", "ant@example.org"),
        ("Ant-Bounces+U=x.example@OLD.EXAMPLE", "ant@example.org", "ant-bounces+u=x.example@example.org"),
        ("ant-owner@old.example", "ant@example.org", "ant-owner@example.org"),
        ("bee@old.example", "bee@old.example", "bee@old.example"),  # a list of its own there wins
        ("postmaster@old.example", "postmaster@example.org", "postmaster@example.org"),
    ],
)
def test_an_address_in_an_alias_domain_is_the_same_address(recipient: str, name: str, address: str) -> None:
    found = split_recipient(recipient, ALIASED)
    assert (found.name, found.address) == (name, address)


@pytest.mark.parametrize("recipient", ["ant@far.example", "bee@example.org", "cat@old.example"])
def test_an_alias_makes_nothing_ours_that_was_not(recipient: str) -> None:
    with pytest.raises((ForeignDomain, UnknownList)):
        split_recipient(recipient, ALIASED)


def test_a_list_is_not_made_in_an_alias_domain_and_the_reason_is_told() -> None:
    with pytest.raises(BadAddress, match=r"old\.example is another name of example\.org .* cat@example\.org"):
        check_list_address("cat@OLD.example", [], {"old.example": "example.org"})


@pytest.mark.parametrize(
    ("recipient", "name"),
    [
        ("postmaster", "postmaster"),
        ("PostMaster@example.org", "postmaster@example.org"),
        ('"Abuse"@example.org', "abuse@example.org"),
        ("postroom@example.org", "postroom@example.org"),
    ],
)
def test_the_site_s_mailboxes_reach_its_owner(recipient: str, name: str) -> None:
    """RFC 5321 4.5.1 and 4.1.1.3, RFC 2142 4 and 6."""
    names = Names.of(MANY, ["example.org"], mailboxes=["abuse", "postroom"])
    found = split_recipient(recipient, names)
    assert (found.list_id, found.queue, found.purpose, found.name) == ("", "owner", "owner", name)


def test_postmaster_cannot_be_configured_away() -> None:
    names = Names.of(MANY, ["example.org"], mailboxes=[])
    assert split_recipient("postmaster@example.org", names).queue == "owner"
    with pytest.raises(UnknownList):
        split_recipient("abuse@example.org", names)


# A site's own suffixes ------------------------------------------------------------------------------------------------


def test_a_site_adds_addresses_of_its_own(tmp_path: Path) -> None:
    settings = make_settings(
        tmp_path, addresses={"archive": ["-archive", "-archive+*"], "request": ["-help"]}
    )
    suffixes = Suffixes.from_settings(settings)
    for recipient, purpose, queue, token in (
        ("ant-archive@example.org", "archive", "archive", ""),
        ("ant-Archive+2026@example.org", "archive", "archive", "2026"),
        ("ant-help@example.org", "request", "request", ""),
    ):
        found = split_recipient(recipient, NAMES, suffixes)
        assert (found.purpose, found.queue, found.token) == (purpose, queue, token)


def test_an_address_with_only_a_token_form_needs_its_token(tmp_path: Path) -> None:
    suffixes = Suffixes.from_settings(make_settings(tmp_path, addresses={"archive": ["-archive+*"]}))
    assert split_recipient("ant-archive+x@example.org", NAMES, suffixes).queue == "archive"
    with pytest.raises(UnknownList):
        split_recipient("ant-archive@example.org", NAMES, suffixes)


@pytest.mark.parametrize("text", ["archive", "-", "", "-a b", "-archive*", "*", "-owner", "-Bounces+*"])
def test_a_suffix_that_cannot_be_used_is_bad_configuration(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadSuffix) as caught:
        Suffixes.from_settings(make_settings(tmp_path, addresses={"archive": [text]}))
    assert "runners.archive" in str(caught.value)


def test_two_queues_cannot_have_one_suffix(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, addresses={"archive": ["-archive"], "mirror": ["-archive"]})
    with pytest.raises(BadSuffix):
        Suffixes.from_settings(settings)


# Laws -----------------------------------------------------------------------------------------------------------------

names_of_lists = st.text(string.ascii_lowercase + string.digits + "-+_=", min_size=1, max_size=12)
endings = st.sampled_from([row.text for row in BUILT_IN])
delimiters = st.sampled_from("+-=_#~/%!")
tokens = st.text(string.ascii_letters + string.digits + "=._", min_size=0, max_size=20)
purposes = st.sampled_from(sorted({row.purpose for row in BUILT_IN}))


@given(names_of_lists, endings, purposes, tokens, delimiters)
def test_a_list_is_found_by_each_of_its_addresses(
    base: str, ending: str, purpose: str, token: str, delimiter: str
) -> None:
    """Round trip, for any delimiter, also for lists that are called like an address of another one."""
    mailing_list = MailingList.at(f"{base}{ending}@example.org")
    suffixes = Suffixes(BUILT_IN, delimiter)
    if not suffixes.row(purpose).token:
        token = ""
    recipient = list_address(mailing_list, purpose, token, suffixes)
    names = Names.of({mailing_list.address: mailing_list.list_id})
    try:
        found = split_recipient(recipient, names, suffixes)
    except BadAddress:
        assume(False)
        return
    assert (found.list_id, found.purpose, found.token) == (mailing_list.list_id, purpose, token)
    assert split_recipient(recipient.swapcase(), names, suffixes).token.swapcase() == token


@given(st.sets(st.tuples(names_of_lists, endings), min_size=1, max_size=6), delimiters)
def test_no_list_is_ever_shadowed(parts: set[tuple[str, str]], delimiter: str) -> None:
    """Whatever other lists there are and whatever they are called, a posting address is a posting address."""
    addresses = {f"{base}{ending}@example.org" for base, ending in parts}
    names = Names.of({address: list_id_of(address) for address in addresses})
    for address in addresses:
        found = split_recipient(address, names, Suffixes(BUILT_IN, delimiter))
        assert (found.name, found.purpose, found.queue) == (address, "post", Queue("incoming"))


@given(st.text(max_size=40))
def test_any_text_is_a_destination_or_one_of_three_errors(text: str) -> None:
    for recipient in (text, f"{text}@example.org", f"ant-bounces+{text}@example.org"):
        try:
            found = split_recipient(recipient, NAMES, DEFAULT_SUFFIXES)
        except (BadAddress, ForeignDomain, UnknownList):
            continue
        assert found.list_id in ("", *NAMES.lists.values())


# Addresses of new lists -----------------------------------------------------------------------------------------------


def test_a_new_list_is_in_lower_case_and_in_a_domain_that_is_ours() -> None:
    assert check_list_address("Ant@Example.ORG") == "ant@example.org"
    assert check_list_address("ant@bücher.example") == "ant@xn--bcher-kva.example"
    assert check_list_address("ant@example.org", ["EXAMPLE.org"]) == "ant@example.org"
    with pytest.raises(BadAddress, match="not ours"):
        check_list_address("ant@example.net", ["example.org"])


@pytest.mark.parametrize(
    "address", ["ant", "ant@", '"a b"@example.org', "a..b@example.org", "änt@example.org", "ant@[192.0.2.1]"]
)
def test_a_name_that_cannot_be_in_a_list_id_is_refused(address: str) -> None:
    with pytest.raises(BadAddress):
        check_list_address(address)
