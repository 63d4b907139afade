"""One member by command: what is shown, what is changed, and the history that answers "why am I off this list"."""

import getpass
import json
import shutil
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.names import ListId, id_about
from lists.bounces.scoring import Score, State
from lists.changes import AddBounce, Decision, DisableMember, LeaveMember, OpenRequest
from lists.records import BounceRecord, Evidence, Origin
from lists.store import Store
from tests.support.postroom_cli import StoppedSite, make_site

pytestmark = pytest.mark.slow

ANT = "ant@example.org"
ANT_ID = ListId("ant.example.org")
ANNE = "anne@example.net"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> StoppedSite:
    """A site with one list and a member."""
    made = make_site(tmp_path_factory.mktemp("template"))
    made.do("lists", "create", ANT)
    made.do("members", "add", ANT, ANNE, "--why", "wrote to us")
    return made


@pytest.fixture
def site(template: StoppedSite, tmp_path: Path) -> StoppedSite:
    shutil.copytree(template.file.parent, tmp_path, dirs_exist_ok=True)
    return StoppedSite(tmp_path / template.file.name)


def rows(site: StoppedSite, *arguments: str) -> Any:
    return json.loads(site.do(*arguments, "--json"))


def test_everything_that_may_be_said_of_a_member_is_shown_again(site: StoppedSite) -> None:
    said = {
        "delivery_status": "vacation",
        "until": "2040-02-29",
        "delivery_mode": "mime_digests",
        "moderation_action": "hold",
        "receive_own_postings": "no",
        "acknowledge_posts": "yes",
        "hide_address": "yes",
        "display_name": "Änne Example",
        "language": "de",
    }
    told = site.do("members", "set", ANT, ANNE, *(f"{name}={value}" for name, value in said.items()))
    assert "delivery_status=vacation  until=2040-02-29" in told
    (shown,) = rows(site, "members", "show", ANT, ANNE)["memberships"]
    assert shown["delivery"] is False
    assert shown["status_until"] == "2040-02-29T00:00:00Z"
    assert (shown["receive_own_postings"], shown["acknowledge_posts"], shown["hide_address"]) == (
        False,
        True,
        True,
    )
    assert {
        name: shown[name] for name in ("delivery_mode", "moderation_action", "display_name", "language")
    } == {name: said[name] for name in ("delivery_mode", "moderation_action", "display_name", "language")}
    text = site.do("members", "show", ANT, ANNE)
    assert all(word in text for word in ("vacation", "2040-02-29", "mime_digests", "Änne Example"))


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("delivery_status=by_bounces", "not one of"),
        ("until=2040-01-01", "goes with delivery_status"),
        ("hide_adress=yes", "did you mean 'hide_address'"),
        ("foo=bar", "there are delivery"),
        ("display_name", "needs a value"),
        ("language=../x", "no language"),
        ("hide_address=perhaps", "neither yes nor no"),
    ],
)
def test_what_cannot_be_said_is_refused_and_changes_nothing(
    template: StoppedSite, assignment: str, words: str
) -> None:
    before = rows(template, "members", "show", ANT, ANNE)
    done = template.call("members", "set", ANT, ANNE, "acknowledge_posts=yes", assignment)
    assert (done.code, words in done.err) == (1, True), done
    assert rows(template, "members", "show", ANT, ANNE) == before


def test_a_command_is_remembered_with_its_user_and_its_reason(site: StoppedSite) -> None:
    site.do("members", "set", ANT, ANNE, "delivery=no", "--why", "asked by phone")
    newest, joined = rows(site, "members", "log", ANT, ANNE.upper())
    assert (newest["what"], newest["old"], newest["new"]) == ("delivery_status", "enabled", "by_owner")
    assert (newest["cause"], newest["who"], newest["why"]) == ("command", getpass.getuser(), "asked by phone")
    assert (joined["what"], joined["why"]) == ("joined", "wrote to us")
    assert "enabled -> by_owner" in site.do("members", "log", ANT, ANNE)


def test_why_am_i_off_this_list_has_an_answer(site: StoppedSite) -> None:
    item_id = id_about("the last bounce")
    bounce = Evidence(
        day=date(2033, 1, 7), bounce_class="bad-mailbox", status="5.1.1", diagnostic="no \x1b[31msuch user"
    )
    record = BounceRecord(State.DISABLED, Score(5.0), {"bad-mailbox": 5}, 3)
    origin = Origin("bounce", why="no answer to three warnings")
    changes = (
        AddBounce(ANT_ID, ANNE, bounce),
        DisableMember(ANT_ID, ANNE, record),
        LeaveMember(ANT_ID, ANNE),
    )
    with Store(load(site.file)) as store:
        store.apply_once(item_id, lambda _: Decision(changes, origin=origin))
    shown = rows(site, "members", "show", ANT, ANNE)
    assert shown["memberships"] == []
    assert shown["evidence"][0]["status"] == "5.1.1"
    left = shown["history"][0]
    assert (left["what"], left["cause"], left["why"], left["item_id"]) == (
        "left",
        "bounce",
        origin.why,
        item_id,
    )
    text = site.do("members", "show", ANT, ANNE)
    assert f"{ANNE} is not in ant.example.org" in text
    assert "no answer to three warnings" in text
    assert "\x1b" not in text
    site.do("lists", "remove", ANT)
    assert "no answer to three warnings" in site.do("members", "log", ANT, ANNE)


def test_open_requests_are_shown(site: StoppedSite) -> None:
    request = OpenRequest(
        list_id=ANT_ID,
        address="bart@x.org",
        kind="join",
        state="moderating",
        asked_by="bart@x.org",
        expires_at=datetime(2040, 1, 1, tzinfo=UTC),
    )
    with Store(load(site.file)) as store:
        store.perform([request])
    (shown,) = rows(site, "members", "show", ANT, "bart@x.org")["requests"]
    assert (shown["kind"], shown["state"]) == ("join", "moderating")
    assert "to join: moderating, until 2040-01-01" in site.do("members", "show", ANT, "bart@x.org")


def test_the_log_of_a_list_has_its_settings_and_bans_too(site: StoppedSite) -> None:
    site.do("lists", "set", ANT, "emergency=yes")
    site.do("bans", "add", ANT, "evil@x.org")
    told = [(row["what"], row["new"], row["address"]) for row in rows(site, "members", "log", ANT)]
    assert told == [
        ("ban", "evil@x.org", ""),
        ("setting.emergency", "yes", ""),
        ("joined", "member", ANNE),
        ("list", "created", ""),
    ]
    assert len(rows(site, "members", "log", ANT, "--limit", "2")) == 2
    assert len(rows(site, "members", "log", ANT, "--limit", "0")) == 4
    assert site.call("members", "log", "bee@example.org").code == 1


def test_every_setting_is_explained(template: StoppedSite) -> None:
    explained = {row["name"]: row for row in rows(template, "lists", "settings")}
    shown = json.loads(template.do("lists", "show", ANT, "--json"))["settings"]
    assert explained.keys() == shown.keys()
    assert all(row["meaning"] and row["takes"] for row in explained.values())
    assert explained["emergency"]["takes"] == "yes|no"
    assert explained["generic_nonmember_action"]["takes"] == "accept|hold|reject|discard"
    (one,) = rows(template, "lists", "settings", "Emergency")
    assert one["default"] == "no"
    assert "Hold every post" in template.do("lists", "settings", "emergency")
    assert "lists settings" in template.call("lists", "set", ANT, "foo=bar").err
    assert "emergency" in template.call("lists", "settings", "emergancy").err
