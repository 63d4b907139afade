"""The client is gone after the final dot: the message stays, the MTA's retry of it is recognised, and every member gets one copy.

RFC 2033 leaves the moment open in which the server has the message and the client does not know; only the server can close it.
"""

import contextlib
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.support.mail import ARRIVE_S, MEMBERS, Mail, make_postfix, running_mail
from tests.support.postfix import Postfix
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow, pytest.mark.crash]


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """A site whose front-end stops itself each time that a message is durable and its 250 is not written, and a Postfix."""
    held = {"POSTROOM_FAILPOINTS": "lmtp.reply.before=stop"}
    with running_mail(tmp_path_factory.mktemp("lost"), make_postfix, held) as running:
        yield running


@pytest.mark.parametrize("address", ["ant@example.org", "bee@unix.example.org"])
def test_a_postfix_killed_before_it_reads_the_250_makes_no_second_copy(mail: Mail, address: str) -> None:
    """kill -9 of its lmtp client, exactly between our commit and our reply: over TCP and over the unix socket."""
    message_id = f"killed.{address}"
    front = psutil.Process(int(mail.site.child("lmtp-1")["pid"]))
    mail.send("guest@example.com", address, message_id)
    _wait_held(front)
    wait_until(lambda: len(mail.copies(message_id)) >= len(MEMBERS), ARRIVE_S)  # though nobody was told
    _kill_client(mail)
    _let_go_until_quiet(mail, front)
    assert sorted(mail.copies(message_id)) == MEMBERS
    told = mail.accepted(message_id)
    assert [line["is_duplicate"] for line in told] == [False, True]
    assert len({line["item_id"] for line in told}) == 1
    assert len(mail.mta.lines(rf"status=sent \(250 2\.0\.0 Accepted {told[0]['item_id']}\)")) == 1


def _wait_held(front: psutil.Process) -> None:
    wait_until(lambda: front.status() == psutil.STATUS_STOPPED, ARRIVE_S, what="the front-end holds a reply")


def _kill_client(mail: Mail) -> None:
    assert isinstance(mail.mta, Postfix)
    clients = [one for one in mail.mta.processes() if one.name() == "lmtp"]
    assert clients
    for client in clients:
        client.kill()


def _let_go_until_quiet(mail: Mail, front: psutil.Process) -> None:
    def quiet() -> bool:
        if front.status() == psutil.STATUS_STOPPED:
            with contextlib.suppress(ProcessLookupError):
                os.kill(front.pid, signal.SIGCONT)
            return False
        return mail.is_quiet()

    wait_until(quiet, ARRIVE_S, what="the retry is answered", every_s=0.1)
