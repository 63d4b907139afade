"""Gathering a message."""

import itertools
import re
from hashlib import blake2b

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lmtp.data import DIGEST_SIZE, Gathering, Message, count_bare
from tests.support.lmtp_parts import stuff

MAX = 10_000
# What a message can be made of so that every corner is met: dots and newlines in each order, and ordinary octets.
PIECES = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"a", b"\x00", b"\xff", b"..", b"\r\n."]), max_size=30
)


def gather(
    wire: bytes, cuts: list[int], max_size: int = MAX, *, normalize: bool = False
) -> tuple[Message, bytes]:
    """Feed `wire` in pieces; return the message and what came behind its final dot."""
    gathering = Gathering(max_size, normalize=normalize)
    places = sorted({cut % (len(wire) + 1) for cut in cuts} | {0, len(wire)})
    for start, end in itertools.pairwise(places):
        piece = b"MAIL" + wire[start:end]  # something that was used before stands in front
        used = gathering.feed(piece, 4)
        if used >= 0:
            return gathering.message(), piece[used:] + wire[end:]
    raise AssertionError("no final dot")


@given(PIECES, st.lists(st.integers(0, 200)), st.sampled_from([b"", b"QUIT\r\n", b".\r\n"]))
@example([], [], b"")
@example([b".", b"\r\n"], [1, 2, 3], b"")
def test_what_goes_in_comes_out_however_it_is_cut(
    pieces: list[bytes], cuts: list[int], behind: bytes
) -> None:
    """Octet for octet, with the digest of exactly these octets, and nothing behind the dot is eaten."""
    content = b"".join(pieces)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    message, rest = gather(stuff(content) + behind, cuts)
    assert message.content == content
    assert message.size == len(content)
    assert message.digest == blake2b(content, digest_size=DIGEST_SIZE).digest()
    assert rest == behind
    assert message.bare_newline == (b"\r" in (bare := content.replace(b"\r\n", b"")) or b"\n" in bare)


@given(
    PIECES, st.lists(st.integers(0, 200)), st.sampled_from([b"", b"QUIT\r\n", b".\r\n"]), st.integers(0, 60)
)
@example([b"\r\n", b".", b"\n", b".", b"\n"], [2, 3, 4, 5], b"", 60)
@example([b"\r", b"\r\n"], [1], b"", 60)
def test_normalizing_makes_every_bare_newline_cr_lf_however_it_is_cut(
    pieces: list[bytes], cuts: list[int], behind: bytes, max_size: int
) -> None:
    """Held against the law written down naively: unstuff on the wire, then mend; size, limit and digest are of what is kept."""
    content = b"".join(pieces)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    wanted = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    message, rest = gather(stuff(content) + behind, cuts, max_size, normalize=True)
    assert message.size == len(wanted)
    assert message.too_big == (len(wanted) > max_size)
    assert rest == behind
    assert not message.bare_newline
    if not message.too_big:
        assert message.content == wanted
        assert message.digest == blake2b(wanted, digest_size=DIGEST_SIZE).digest()


@given(PIECES)
def test_bare_newlines_are_counted(pieces: list[bytes]) -> None:
    """As an expression that looks at both neighbours finds them."""
    content = b"".join(pieces)
    assert count_bare(content) == len(re.findall(rb"\r(?!\n)|(?<!\r)\n", content))


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("fake", [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r"])
def test_only_cr_lf_dot_cr_lf_ends_a_message(fake: bytes, normalize: bool) -> None:
    """What others take for an end stays inside, and is a bare newline; mending makes no end of it."""
    message, rest = gather(b"a" + fake + b"b\r\n.\r\n", [], normalize=normalize)
    assert message.bare_newline is not normalize
    assert message.content.endswith(b"b\r\n")
    assert rest == b""


@given(st.integers(0, 40), st.lists(st.integers(0, 100)))
def test_the_limit_counts_octets_without_stuffing_and_final_dot(excess: int, cuts: list[int]) -> None:
    """RFC 1870 3: exactly the limit is taken, one more is not; the size is still counted, the content is not kept."""
    content = b"." * (MAX - 22 + excess) + b"\r\n"
    content = b".\r\n" * 10 + content[10:]
    message, _ = gather(stuff(content), cuts)
    assert message.size == len(content)
    assert message.too_big == (len(content) > MAX)
    assert message.content == (b"" if message.too_big else content)


def test_a_flood_without_an_end_is_not_kept() -> None:
    """Over the limit nothing grows, whatever comes."""
    gathering = Gathering(1000)
    for _ in range(1000):
        assert gathering.feed(b"x" * 10_000, 0) == -1
    assert gathering.feed(b"\r\n.\r\n", 0) == 5
    assert gathering.message() == Message(
        b"", 10_000_002, blake2b(digest_size=DIGEST_SIZE).digest(), True, False
    )


@pytest.mark.parametrize(
    "content", [b"\x00\xff" * 100 + b"\r\n", b"x" * 100_000 + b"\r\n", b"", b"\r\n", b"no header\r\n"]
)
def test_octets_are_kept_as_they_are(content: bytes) -> None:
    """NUL, 8-bit, a line of 100 kB, no header, nothing at all."""
    message, _ = gather(stuff(content), [], 200_000)
    assert message.content == content
    assert not message.bare_newline
