"""`tokens`, `templates` and `members requests|approve|refuse` by command, on a site that is stopped."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from config.load import load
from config.names import ListId
from lists.changes import MakeToken, OpenRequest
from lists.store import Store
from tests.support.postroom_cli import StoppedSite, make_site

pytestmark = pytest.mark.slow

ANT = "ant@example.org"
ANT_ID = ListId("ant.example.org")
ZOE = "zoe@example.net"
LATER = datetime(2090, 1, 1, tzinfo=UTC)


@pytest.fixture
def site(tmp_path: Path) -> StoppedSite:
    """A site with one request and two tokens, one of them expired."""
    made = make_site(tmp_path)
    made.do("lists", "create", ANT)
    with Store(load(made.file)) as store:
        store.perform(
            [
                OpenRequest(
                    list_id=ANT_ID,
                    address=ZOE,
                    kind="join",
                    state="confirming",
                    asked_by=ZOE,
                    expires_at=LATER,
                ),
                *(
                    MakeToken(
                        hash=name * 64,
                        purpose="confirm",
                        list_id=ANT_ID,
                        address=ZOE,
                        expires_at=expires,
                        about="join",
                    )
                    for name, expires in (("a", LATER), ("b", datetime(2020, 1, 1, tzinfo=UTC)))
                ),
            ]
        )
    return made


def rows(site: StoppedSite, *arguments: str) -> Any:
    return json.loads(site.do(*arguments, "--json"))


def test_a_code_is_listed_and_revoked_once(site: StoppedSite) -> None:
    (token,) = rows(site, "tokens", "ls", ANT)
    assert (token["address"], token["about"], token["used_at"]) == (ZOE, "join", None)
    assert "hash" not in token
    assert len(rows(site, "tokens", "ls", "--all")) == 2
    assert "works no longer" in site.do("tokens", "revoke", str(token["id"]))
    assert rows(site, "tokens", "ls", ANT) == []
    again = site.call("tokens", "revoke", str(token["id"]))
    assert (again.code, "used, revoked or has expired" in again.err) == (1, True)
    assert site.call("tokens", "revoke", "99").code == 1
    (used,) = [line for line in rows(site, "members", "log", ANT, ZOE) if line["new"] == "used"]
    assert (used["cause"], used["why"]) == ("command", "revoked")


def test_requests_are_listed_and_need_a_site_that_runs_to_be_decided(site: StoppedSite) -> None:
    (request,) = rows(site, "members", "requests", ANT)
    assert (request["address"], request["kind"], request["state"]) == (ZOE, "join", "confirming")
    stopped = site.call("members", "approve", ANT, ZOE)
    assert (stopped.code, "does not answer" in stopped.err) == (1, True)
    unknown = site.call("members", "refuse", ANT, "yan@example.net")
    assert (unknown.code, "has asked nothing" in unknown.err) == (1, True)


def test_texts_are_listed_shown_and_checked(site: StoppedSite, tmp_path: Path) -> None:
    assert {row["language"] for row in rows(site, "templates", "ls")} == {"en"}
    site.do("lists", "set", ANT, "preferred_language=de")
    assert {row["language"] for row in rows(site, "templates", "ls", "--list", ANT)} == {"de"}
    assert "Subject: Welcome to $list_name" in site.do("templates", "show", "welcome")
    assert site.call("templates", "show", "nonsense").code == 1
    assert site.call("templates", "check").code == 1, "there is no folder"

    folder = tmp_path / "texts"
    file = folder / "site" / "en" / "welcome.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Subject: Hello\n\n$address\n")
    site.file.write_text(f'{site.file.read_text()}\n[notices]\ntemplates = "{folder}"\n')
    assert "in order" in site.do("templates", "check")
    assert "Subject: Hello" in site.do("templates", "show", "welcome")
    file.write_text("Subject: Hello\n\n$adress\n")
    wrong = site.call("templates", "check")
    assert (wrong.code, f"{file}:3: there is no $adress for this text" in wrong.err) == (1, True)
