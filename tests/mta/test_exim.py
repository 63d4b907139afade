"""Exim asks Postroom while its client waits: callouts with the sender's own address, and with the null one."""

import smtplib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.exim import Exim
from tests.support.mail import ARRIVE_S, Mail, running_mail
from tests.support.mta import Route
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.mta, pytest.mark.slow]

USE_SENDER = "recipient/callout=10s,use_sender,no_cache"
NULL_SENDER = "recipient/callout=10s,no_cache"


@pytest.fixture(scope="module", params=[USE_SENDER, NULL_SENDER], ids=["use_sender", "null_sender"])
def asking_mail(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mail]:
    """A site and an Exim that makes callouts."""

    def make(folder: Path, routes: Mapping[str, Route], relay: str, port: int) -> Exim:
        return Exim(folder, lists=routes, relay=relay, port=port, verify=request.param)

    with running_mail(tmp_path_factory.mktemp("exim"), make) as running:
        yield running


def test_an_unknown_list_is_refused_in_the_smtp_dialogue(asking_mail: Mail) -> None:
    """So no bounce is made."""
    code, text = _refusal(asking_mail, "guest@example.com", "nosuchlist@example.org")
    assert code == 550
    assert b"550 5.1.1 No such mailing list here" in text


def test_a_stranger_is_refused_by_a_closed_list_as_early_as_exim_asks(asking_mail: Mail) -> None:
    """With use_sender in the dialogue; with the null sender, which every known list takes, by a bounce."""
    assert isinstance(asking_mail.mta, Exim)
    if asking_mail.mta.verify == USE_SENDER:
        code, text = _refusal(asking_mail, "stranger@example.com", "closed@example.org")
        assert code == 550
        assert b"550 5.7.1" in text
    else:
        asking_mail.send("stranger@example.com", "closed@example.org", "stranger@client.example.net")
        bounce = wait_until(lambda: asking_mail.bounce_to("stranger@example.com"), ARRIVE_S)
        assert b"550 5.7.1" in bounce
    assert asking_mail.copies("stranger@client.example.net") == []


def test_a_member_of_a_closed_list_posts(asking_mail: Mail) -> None:
    """Whoever Exim asks for."""
    asking_mail.send("anne@example.net", "closed@example.org", "member@client.example.net")
    wait_until(lambda: asking_mail.copies("member@client.example.net"), ARRIVE_S)
    asking_mail.wait_quiet()
    assert asking_mail.copies("member@client.example.net") == ["anne@example.net"]


def _refusal(mail: Mail, sender: str, recipient: str) -> tuple[int, bytes]:
    with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
        mail.send(sender, recipient, f"refused.{recipient}")
    code, text = caught.value.recipients[recipient]
    return code, text
