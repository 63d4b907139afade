"""What Postfix, Exim, Sendmail and OpenSMTPD all do: mail through each of them, over TCP and over the unix socket."""

from collections.abc import Iterator

import pytest

from tests.support.mail import ARRIVE_S, MEMBERS, MTAS, Mail, running_mail
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow]


@pytest.fixture(scope="module", params=MTAS)
def mail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """A site and one of the four before and behind it."""
    with running_mail(tmp_path_factory.mktemp(request.param), MTAS[request.param]) as running:
        yield running


@pytest.mark.parametrize("address", ["ant@example.org", "bee@unix.example.org"])
def test_a_post_reaches_each_member_once(mail: Mail, address: str) -> None:
    """Over TCP and over the unix socket, and out again through the same MTA."""
    message_id = f"once.{address}"
    mail.send("guest@example.com", address, message_id)
    wait_until(lambda: len(mail.copies(message_id)) >= len(MEMBERS), ARRIVE_S)
    mail.wait_quiet()
    assert sorted(mail.copies(message_id)) == MEMBERS
