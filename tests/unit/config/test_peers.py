"""Who is meant by `[lmtp] trusted`: networks, users and groups."""

import grp
import os
import pwd

import pytest

from config.peers import BadPeer, read_peers

ROOT = pwd.getpwuid(0).pw_name
GROUP = grp.getgrgid(0).gr_name


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("::ffff:127.0.0.9", True),  # how an IPv6 socket shows an IPv4 peer
        ("192.0.2.1", False),
        ("192.0.2.7", True),
        ("2001:db8::ffff", True),
        ("2001:db9::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_an_address_is_in_a_network_or_not(address: str, expected: bool) -> None:
    peers = read_peers(["127.0.0.0/8", "::1/128", "192.0.2.7", "2001:db8::/32"])
    assert peers.include_address(address) is expected
    assert not peers.has_local


@pytest.mark.parametrize(
    ("entry", "uid", "gids", "expected"),
    [
        (f"user:{ROOT}", 0, (7,), True),
        (f"user:{ROOT}", 7, (0,), False),
        ("uid:4294967294", 4294967294, (), True),
        ("uid:1000", 1001, (1000,), False),
        (f"group:{GROUP}", 7, (5, 0), True),
        (f"group:{GROUP}", 0, (5,), False),
        ("gid:12", 12, (1, 12), True),
        ("gid:12", 12, (1, 2), False),
    ],
)
def test_a_local_peer_is_known_by_its_user_or_by_one_of_its_groups(
    entry: str, uid: int, gids: tuple[int, ...], expected: bool
) -> None:
    peers = read_peers(["10.0.0.0/8", entry])
    assert peers.has_local
    assert peers.include_local(uid, gids) is expected


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("localhost", "a network"),
        ("10.0.0.1/8", "host bits"),
        ("", "a network"),
        ("user:no-such-user-here", "no such user"),
        ("user:", "no such user"),
        ("user:a\x00b", "no such user"),
        ("group:no-such-group-here", "no such group"),
        ("uid:", "a number"),
        ("uid:-1", "a number"),
        ("uid:\u0661", "a number"),
        ("uid:4294967295", "a number"),
        ("gid:99999999999", "a number"),
        ("host:mx", "a network"),
    ],
)
def test_an_entry_that_names_nobody_is_refused_with_what_to_write(entry: str, words: str) -> None:
    with pytest.raises(BadPeer, match=words):
        read_peers([entry])


def test_our_own_user_is_found_by_name() -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    assert read_peers([f"user:{name}"]).uids == {os.getuid()}
