"""The unix socket is open to the users of the host, as its mode says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.sink import Sink
from tests.support.site import Site
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

# Becomes somebody else by itself, once everything is imported: our Python may lie where nobody else may look.
CLIENT = """
import os, pwd, smtplib, sys
nobody = pwd.getpwnam("nobody")
os.setgroups([]); os.setgid(nobody.pw_gid); os.setuid(nobody.pw_uid)
with smtplib.LMTP(sys.argv[1], local_hostname="client.example.net") as client:
    refused = client.sendmail("guest@example.com", ["ant@example.org"], b"From: <guest@example.com>\\r\\n\\r\\nHello.\\r\\n")
assert not refused, refused
"""


def test_a_client_that_runs_as_another_user_delivers(tmp_path: Path) -> None:
    """An MTA's LMTP client is never our own user."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "only root can start a client as somebody else"
        )
    with Sink() as sink, Site(tmp_path / "site", f'[outgoing]\nsmtp = "{sink.address}"\n') as site:
        site.postroom("lists", "create", "ant@example.org", "--set", "generic_nonmember_action=accept")
        site.postroom("members", "add", "ant@example.org", "anne@example.net")
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, str(site.unix)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        wait_until(lambda: sink.recipients() == ["anne@example.net"])
