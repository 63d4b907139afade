"""Mail of our own: its fields, its texts, and that nothing of a stranger's gets into it."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.messages import Item
from config.names import MEMBERSHIP, ItemId, ListId
from lists.address import DEFAULT_SUFFIXES
from lists.gate import Cause, Kind, Permit, Spent, judge
from lists.model import ListSettings, MailingList
from runners.notices import Desk, standard_values, write_notice
from runners.phrases import Value
from runners.texts import BUILT_IN, BadTemplate, Texts, load_template, read_template, template_names

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ANT = MailingList.at("ant@example.org", ListSettings(display_name="Ants"))
CAUSE = Cause("anne@example.net", "<1@example.net>")


def make_desk(folder: Path | None = None, mailing_list: MailingList | None = ANT) -> Desk:
    return Desk(
        texts=Texts(folder),
        suffixes=DEFAULT_SUFFIXES,
        site="lists.example.org",
        site_owner="admin@example.org",
        mailing_list=mailing_list,
    )


def make_item() -> Item:
    return Item(
        id=ItemId("ab" * 16),
        root_id=ItemId("ab" * 16),
        queue=MEMBERSHIP,
        list_id=ListId("ant.example.org"),
        reverse_path="anne@example.net",
        accepted_at=NOW,
    )


def permit(
    kind: Kind = Kind.CONFIRM, address: str = "anne@example.net", cause: Cause | None = CAUSE
) -> Permit:
    verdict = judge(kind, address, Spent(), 0, cause=cause)
    assert isinstance(verdict, Permit)
    return verdict


CONFIRMATION = {"confirm_address": "ant-confirm+abc@example.org", "expires": "Thursday"}


def test_a_confirmation_says_all_that_rfc_3834_asks() -> None:
    output = write_notice(
        [permit()],
        "confirm-join",
        make_desk(),
        make_item(),
        NOW,
        values=CONFIRMATION,
        sender="ant-confirm+abc@example.org",
        subject_tail="confirm abc",
    )
    message = message_from_bytes(output.content or b"", policy=default)
    assert output.recipient == "anne@example.net"
    assert output.reverse_path == ""
    assert message["from"] == "Ants <ant-confirm+abc@example.org>"
    assert message["to"] == "anne@example.net"
    assert message["subject"] == "Please confirm that you want to join Ants confirm abc"
    assert message["auto-submitted"] == "auto-replied"
    assert message["in-reply-to"] == message["references"] == "<1@example.net>"
    assert message["list-id"] == "<ant.example.org>"
    assert message["date"].datetime == NOW
    assert "ant-confirm+abc@example.org" in message.get_content()
    assert b"\r\n" in (output.content or b"")


def test_the_same_permit_gives_the_same_octets() -> None:
    """A handler that runs twice sends one mail."""
    one, two = (
        write_notice([permit()], "confirm-join", make_desk(), make_item(), NOW, values=CONFIRMATION)
        for _ in range(2)
    )
    assert one == two


def test_plain_text_can_be_read_without_decoding() -> None:
    """Lines that a value makes longer than 78 octets stay one line."""
    expires = "Wednesday, 30 September 2026, " * 5
    output = write_notice(
        [permit()], "confirm-join", make_desk(), make_item(), NOW, values={**CONFIRMATION, "expires": expires}
    )
    assert b"Content-Transfer-Encoding: 7bit\r\n" in (output.content or b"")
    assert expires.strip().encode() in (output.content or b"")


def test_a_command_is_no_reply() -> None:
    output = write_notice([permit(Kind.WELCOME, cause=None)], "welcome", make_desk(), make_item(), NOW)
    message = message_from_bytes(output.content or b"", policy=default)
    assert message["auto-submitted"] == "auto-generated"
    assert message["in-reply-to"] is None
    assert output.reverse_path is None, "a welcome that bounces tells something about a member"


def test_a_message_id_of_a_strangers_making_is_not_repeated() -> None:
    """It goes into a header of ours."""
    for forged in ("<a@b>\r\nBcc: x@example.net", "<" + "x" * 2000 + ">", "<a> <b>", ""):
        output = write_notice(
            [permit(cause=Cause("anne@example.net", forged))], "welcome", make_desk(), make_item(), NOW
        )
        message = message_from_bytes(output.content or b"", policy=default)
        assert message["references"] is None
        assert message["bcc"] is None


@given(st.text(max_size=300), st.text(max_size=300))
def test_no_value_breaks_out_of_the_text(display_name: str, value: str) -> None:
    """Whatever is filled in, the header has our fields and no others, and the mail can be read."""
    mailing_list = MailingList.at("ant@example.org", ListSettings(display_name=display_name))
    output = write_notice(
        [permit()],
        "confirm-join",
        make_desk(mailing_list=mailing_list),
        make_item(),
        NOW,
        values={**CONFIRMATION, "expires": value},
    )
    message = message_from_bytes(output.content or b"", policy=default)
    assert not message.defects
    assert {name.lower() for name in message} == {
        "from", "to", "subject", "date", "message-id", "auto-submitted", "in-reply-to", "references",
        "precedence", "x-auto-response-suppress", "list-id", "content-type", "content-transfer-encoding", "mime-version",
    }  # fmt: skip
    assert max(map(len, (output.content or b"").split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "address", ['"two words"@example.net', "grüße@example.net", "a" * 60 + "@example.net"]
)
def test_any_address_that_we_take_can_be_written_to(address: str) -> None:
    output = write_notice([permit(Kind.WELCOME, address, None)], "welcome", make_desk(), make_item(), NOW)
    assert output.recipient == address
    assert b"\nTo: " in (output.content or b"")


def test_the_site_writes_without_a_list() -> None:
    values = standard_values(make_desk(mailing_list=None))
    assert values["owner_address"] == "admin@example.org"
    assert values["list_name"] == "lists.example.org"


# Texts ----------------------------------------------------------------------------------------------------------------


def test_the_nearest_text_wins(tmp_path: Path) -> None:
    texts = Texts(tmp_path)
    assert texts.find("welcome", ANT).path == str(BUILT_IN / "en" / "welcome.txt")
    for place in ("site/en", "domains/example.org/en", "lists/ant.example.org/en", "site/de"):
        file = tmp_path / place / "welcome.txt"
        file.parent.mkdir(parents=True)
        file.write_text(f"Subject: {place}\n\nhello\n")
        if place != "site/de":
            assert texts.find("welcome", ANT).subject == place
    assert texts.find("welcome", ANT, "de").subject == "site/de", "the language counts more than the place"
    assert texts.find("welcome", ANT, "../..").subject == "lists/ant.example.org/en"


def test_a_changed_text_is_seen_and_a_broken_one_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "site/en/welcome.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Subject: mine\n\nhello\n")
    texts = Texts(tmp_path)
    assert texts.find("welcome").subject == "mine"
    file.write_text("no subject\n")
    assert texts.find("welcome").path == str(BUILT_IN / "en" / "welcome.txt")


def test_a_text_that_wants_what_there_is_not_is_passed_over(tmp_path: Path) -> None:
    """A typo in a site's file must not stop confirmations."""
    file = tmp_path / "site/en/welcome.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Subject: $nonsense\n\nhello\n")
    output = write_notice([permit(Kind.WELCOME)], "welcome", make_desk(tmp_path), make_item(), NOW)
    assert b"Subject: Welcome to Ants" in (output.content or b"")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1"),
        ("Subject:\n\nx", "line 1"),
        ("Subject: x\nbody", "line 2"),
        ("Subject: x\n\n$ 5", '"$"'),
    ],
)
def test_a_bad_template_says_why(text: str, why: str) -> None:
    with pytest.raises(BadTemplate, match=why.replace("$", r"\$")):
        read_template(text, "mine.txt")


def test_a_name_that_is_not_filled_is_told() -> None:
    with pytest.raises(BadTemplate, match=r"no \$nonsense"):
        read_template("Subject: $nonsense\n\nx\n", "mine.txt").fill({})


@pytest.mark.parametrize("name", template_names())
def test_every_text_that_comes_with_postroom_is_sound(name: str) -> None:
    template = load_template(BUILT_IN / "en" / f"{name}.txt")
    assert max(map(len, template.body.splitlines())) <= 78


def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Texts(tmp_path).find("../../etc/passwd")


@pytest.mark.parametrize(
    "address", ["münchen@example.org", "ant@münchen.example", "ant@" + ".".join(["b" * 60] * 4)]
)
@pytest.mark.parametrize("name", ["Ants", 'Ämeisen, "die" <x@example.net>' * 8])
def test_no_name_of_a_list_breaks_the_syntax(address: str, name: str) -> None:
    """An encoded word is no address and no list-id (RFC 2047 5, RFC 2919 3), and a display name holds no second address."""
    ant = MailingList.at(address, ListSettings(display_name=name))
    output = write_notice(
        [permit()], "confirm-join", make_desk(mailing_list=ant), make_item(), NOW, values=CONFIRMATION
    )
    message = message_from_bytes(output.content or b"", policy=default)
    (author,) = message["from"].addresses
    octets = author.addr_spec.encode(errors="surrogateescape")  # as the parser keeps UTF-8
    assert octets.decode() == standard_values(make_desk(mailing_list=ant))["owner_address"]
    assert f"List-Id: <{ant.list_id}>\r\n".encode() in (output.content or b"")


def test_several_readers_get_one_mail_to_the_owner_address() -> None:
    """However many decide about a list, it is one output, and nobody's address is shown to the others."""
    permits = [permit(Kind.REQUEST, f"m{number}@example.net", None) for number in range(250)]
    values: dict[str, Value] = {
        "member": "anne@example.net",
        "action": "join",
        "approve_address": "a@example.org",
        "refuse_address": "r@example.org",
        "expires": NOW,
    }
    output = write_notice(permits, "owner-request", make_desk(), make_item(), NOW, values=values)
    assert output.recipient is None
    assert output.recipients == tuple(each.address for each in permits)
    message = message_from_bytes(output.content or b"", policy=default)
    assert message["to"] == "ant-owner@example.org"
    assert b"m0@example.net" not in (output.content or b"")
