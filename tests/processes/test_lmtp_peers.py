"""Who may connect to real front-ends: networks, and users of this host."""

import os
from pathlib import Path

import pytest

from tests.support.lmtp_process import running_post
from tests.support.waiting import wait_until
from tests.support.wire import Wire

pytestmark = pytest.mark.slow
OTHER_UID = os.getuid() + 12345


def test_a_user_who_is_not_named_is_told_554_on_the_unix_socket(tmp_path: Path) -> None:
    """TCP has its networks and is served; the log says who was turned away, once."""
    with running_post(tmp_path, trusted=["127.0.0.0/8", f"uid:{OTHER_UID}"]) as post:
        post.start_front()
        for _ in range(3):
            with Wire.connect(post.unix, lhlo=False) as wire:
                assert wire.reply().startswith("554 5.7.1 ")
                assert wire.ends()
        with Wire.connect(post.tcp) as wire:
            assert wire.codes("NOOP") == ["250 2.0.0"]
        (line,) = wait_until(lambda: post.lines("lmtp.refused"))
        assert line["peer"] == f"uid:{os.getuid()}"


def test_a_user_who_is_named_is_served_on_the_unix_socket(tmp_path: Path) -> None:
    """The item says who handed it in."""
    with running_post(tmp_path, trusted=[f"uid:{os.getuid()}"]) as post:
        post.start_front()
        with Wire.connect(post.unix) as wire:
            assert wire.codes("NOOP") == ["250 2.0.0"]
        with Wire.connect(post.tcp, lhlo=False) as wire:
            assert wire.reply().startswith("554 5.7.1 ")
