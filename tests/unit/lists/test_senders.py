"""Reverse-paths in the forms in which they are seen, and whom each stands for."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lists.mailbox import address_key
from lists.sender_forms import FORMS, Form
from lists.senders import MAX_DEPTH, is_nobody, resolve_sender, sender_keys

ANNE = "anne@example.net"
locals_ = st.from_regex(r"[a-z0-9]([a-z0-9.+_-]{0,20}[a-z0-9])?", fullmatch=True)
domains = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?\.[a-z]{2,5}", fullmatch=True)
hashes = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", min_size=4, max_size=8)
times = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=2, max_size=2)
separators = st.sampled_from("=+-")

# Forms as they stand in logs and archives, with the names changed; None: nobody can say whose it is.
SEEN = [
    ("anne@example.net", None),
    ("anne+ant@example.net", None),  # a subaddress may be another person's, and is compared whole
    ("a=b@example.net", None),
    # forwarders
    ("SRS0=6nHz=Z7=example.net=anne@postsrsd.example", ANNE),
    ("SRS0+6nHz=Z7=example.net=anne@strato.example", ANNE),
    ("SRS0-6nHz=Z7=example.net=anne@pobox.example", ANNE),
    ("SRS0=o4BGqO/7=QN=example.net=anne@pfix-srsd.example", ANNE),
    ("srs0=6nhz=z7=example.net=anne@lowered.example", ANNE),
    ("SRS0=6nHz=Z7=EXAMPLE.NET=Anne@Forward.Example", ANNE),
    ("SRS1=2w3F=first.example==6nHz=Z7=example.net=anne@second.example", ANNE),
    ("SRS1=2w3F=first.example=+6nHz=Z7=example.net=anne@second.example", ANNE),
    ("SRS1+2w3F=first.example=-6nHz=Z7=example.net=anne@second.example", ANNE),
    ("john+SRS=44ldt=IX=example.net=anne@tenant.example", ANNE),
    # one in the other
    ("SRS0=6nHz=Z7=example.net=prvs=0123456789=anne@forward.example", ANNE),
    ("SRS1=2w3F=first.example==6nHz=Z7=example.net=prvs=0123456789=anne@second.example", ANNE),
    ("SRS0=6nHz=Z7=first.example=SRS0=6nHz=Z7=example.net=anne@second.example", ANNE),
    ("prvs=0123456789=SRS0=6nHz=Z7=example.net=anne@forward.example", ANNE),
    ("SRS0=6nHz=Z7=example.net=anne+ant=example.org@forward.example", ANNE),
    # tags against backscatter
    ("prvs=3126a1b2c3=anne@example.net", ANNE),  # draft-levine-smtp-batv, Exim, Proofpoint
    ("prvs=03126a1b2c3d=anne@example.net", ANNE),
    ("prvs=anne=123ABCD0@example.net", ANNE),  # IronPort
    ("prvs=anne/3126a1b2c3@example.net", ANNE),  # the first drafts
    ("msprvs1=17785sZq0bTn3=anne@example.net", ANNE),
    ("btv1==1234abcdef0==anne@example.net", ANNE),
    ("prvs=3126a1b2c3=a=b@example.net", "a=b@example.net"),
    # one address for each recipient
    ("anne+ant=example.org@example.net", ANNE),  # Postfix's XVERP
    ("bounces-anne=example.net@bounces.example.net", ANNE),
    # these name the recipient, or nobody
    ("bounces+1234567-6c2d-ant=example.org@em1234.sendgrid.example", None),
    ("bounce+df3a5b.51f9a-ant=example.org@mg.mailgun.example", None),
    ("list-return-123-ant=example.org@ezmlm.example", None),
    ("sentto-1234-567-1234567890-ant=example.org@returns.groups.example", None),
    ("0100018f0a1b2c3d-5a9d-4b1c-000000@amazonses.example", None),
    ("010001890a1b=ant=example.org@service.example", None),
    ("ant+bncBCX7RDEQUABBBT@googlegroups.example", None),
    (
        "anne+caf_=ant=example.org@gmail.example",
        None,
    ),  # somebody wrote to Anne, and a filter of hers sent it on
    ("bounces+SRS=44ldt=IX@tenant.example", None),
    ("bounce-md_30850198.5f3c0a1b.v1@mandrill.example", None),
    ("MAILER-DAEMON@example.net", None),
    ("", None),
]


@pytest.mark.parametrize(("reverse_path", "author"), SEEN)
def test_a_sender_as_seen_stands_for_its_author(reverse_path: str, author: str | None) -> None:
    found = sender_keys(reverse_path)
    assert found[:1] == ((address_key(reverse_path),) if reverse_path else ())
    if author is None:
        assert all("anne@" not in key and "ant@" not in key for key in found[1:])
    else:
        assert found[-1] == author


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_the_examples_of_a_form_are_true(form: Form) -> None:
    assert len(form.accepted) >= 3
    assert len(form.refused) >= 3
    for reverse_path, author in form.accepted:
        found = resolve_sender(reverse_path)
        assert (found[1].key, found[1].form) == (author, form.name)
    for reverse_path in form.refused:
        assert form.name not in [sender.form for sender in resolve_sender(reverse_path)]


@given(
    local=locals_,
    domain=domains,
    hash_=hashes,
    time_=times,
    separator=separators,
    other=separators,
    forward=domains,
)
def test_srs_gives_back_whom_it_was_made_for(
    local: str, domain: str, hash_: str, time_: str, separator: str, other: str, forward: str
) -> None:
    rest = f"{separator}{hash_}={time_}={domain}={local}"
    for sender in (f"SRS0{rest}@{forward}", f"SRS1{other}{hash_}=first.example={rest}@{forward}"):
        assert f"{local}@{domain}" in sender_keys(sender)


@given(local=locals_, domain=domains, tag=st.from_regex(r"[0-9]{4}[0-9a-f]{6}", fullmatch=True))
def test_batv_gives_back_whom_it_was_made_for_in_both_orders(local: str, domain: str, tag: str) -> None:
    assert f"{local}@{domain}" in sender_keys(f"prvs={tag}={local}@{domain}")
    assert f"{local}@{domain}" in sender_keys(f"prvs={local}={tag}@{domain}")


def test_where_both_halves_could_be_the_tag_both_are_tried() -> None:
    assert sender_keys("prvs=123456=654321@example.net")[1:] == ("654321@example.net", "123456@example.net")


@given(st.text(st.characters(codec="utf-8"), max_size=320) | st.text("=+-@.s0r1pv/ab", max_size=320))
def test_any_text_gives_itself_and_few_others(reverse_path: str) -> None:
    found = sender_keys(reverse_path)
    assert len(found) == len(set(found)) <= 2 ** (MAX_DEPTH + 1)
    assert found[:1] == ((address_key(reverse_path),) if reverse_path else ())


@pytest.mark.parametrize(
    "part", ["=", "srs0=a=b=", "prvs=1234567=", "srs0=a=b=c.d=", "a+b=", "srs1=a=b==", "."]
)
def test_a_long_sender_takes_no_long_time(part: str) -> None:
    """The longest that a MAIL command can carry; ten times the work of the front-end's 50 us would still show a square."""
    sender = (part * 3000)[:2000] + "@example.net"
    began = time.thread_time()
    for _ in range(20):
        sender_keys(sender)
    assert (time.thread_time() - began) / 20 < 0.002


@pytest.mark.parametrize(
    ("reverse_path", "nobody"),
    [
        ("", True),
        ("double-bounce@example.net", True),
        ("Double-Bounce@mx.example", True),
        (ANNE, False),
        ("double-bounce2@example.net", False),
        ("double-bounce", False),
    ],
)
def test_probers_are_nobody(reverse_path: str, nobody: bool) -> None:
    assert is_nobody(reverse_path) is nobody
