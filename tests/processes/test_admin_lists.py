"""Lists, members and bans by command: what is there afterwards, what is refused and how it is told."""

import json
import os
import pty
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.postroom_cli import POSTROOM, Done, StoppedSite, clean_environment, make_site

pytestmark = pytest.mark.slow

ANT = "ant@example.org"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> StoppedSite:
    """A site with one list, which no test changes: making a store takes most of a second."""
    made = make_site(tmp_path_factory.mktemp("template"))
    made.do("lists", "create", ANT, "--owner", "anne@example.net")
    return made


@pytest.fixture
def site(template: StoppedSite, tmp_path: Path) -> StoppedSite:
    shutil.copytree(template.file.parent, tmp_path, dirs_exist_ok=True)
    return StoppedSite(tmp_path / template.file.name)


def rows(site: StoppedSite, *arguments: str) -> Any:
    return json.loads(site.do(*arguments, "--json"))


def addresses(site: StoppedSite, *arguments: str) -> list[str]:
    return [row["address"] for row in rows(site, "members", "ls", ANT, *arguments)]


def assert_refused(done: Done, *words: str) -> None:
    assert done.code == 1, done
    assert all(word in done.err for word in words), done
    assert all(line.startswith("postroom: ") for line in done.err.splitlines()), done


# Lists


def test_a_list_is_named_by_address_or_list_id(site: StoppedSite) -> None:
    for name in (ANT, "ant.example.org", "Ant@Example.ORG", f"<{ANT}>"):
        assert rows(site, "lists", "show", name)["address"] == ANT


def test_lists_ls_has_the_keys_that_scripts_rely_on(site: StoppedSite) -> None:
    (row,) = rows(site, "lists", "ls")
    assert row["list_id"] == "ant.example.org"
    assert row["address"] == ANT


def test_show_tells_owners_members_and_every_setting(site: StoppedSite) -> None:
    shown = rows(site, "lists", "show", ANT)
    assert shown["owners"] == ["anne@example.net"]
    assert shown["members"] == 0
    assert shown["settings"]["generic_nonmember_action"] == "hold"
    text = site.do("lists", "show", ANT)
    assert all(name in text for name in shown["settings"])


def test_set_changes_and_shows_what_it_changed(site: StoppedSite) -> None:
    site.do("lists", "set", ANT, "generic_nonmember_action=reject", "subject_prefix=[ant] x")
    settings = rows(site, "lists", "show", ANT)["settings"]
    assert (settings["generic_nonmember_action"], settings["subject_prefix"]) == ("reject", "[ant] x")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lists", "create", ANT], ["already"]),
        (["lists", "create", "ant"], ["no @"]),
        (["lists", "create", "../x@example.org"], ["name"]),
        (
            ["lists", "create", "b@example.org", "--set", "subjct_prefix=x"],
            ["did you mean", "subject_prefix"],
        ),
        (["lists", "create", "b@example.org", "--set", "emergency=perhaps"], ["yes nor no"]),
        (["lists", "create", "b@example.org", "--owner", "nobody"], ["nobody"]),
        (["lists", "set", ANT, "accept_these_nonmembers=^(a"], ["linear time"]),
        (["lists", "show", "amt@example.org"], ["did you mean", ANT, "lists ls"]),
        (["lists", "remove", "bee@example.org"], ["bee@example.org"]),
        (["members", "ls", "bee@example.org"], ["bee@example.org"]),
        (["bans", "rm", ANT, "x@y"], ["not banned"]),
        (["bans", "add", "^("], ["regex"]),
        (["members", "set", ANT, "x@y", "delivery=no"], ["x@y"]),
        (["members", "set", ANT, "x@y", "delivry=no"], ["did you mean 'delivery'"]),
        (["members", "add", ANT, "--file", "/nonexistent"], ["/nonexistent"]),
        (["held", "show", "17"], ["17"]),
        (["held", "ls", "bee@example.org"], ["bee@example.org"]),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    template: StoppedSite, arguments: list[str], words: list[str]
) -> None:
    assert_refused(template.call(*arguments), *words)


def test_what_is_refused_changes_nothing(site: StoppedSite) -> None:
    before = rows(site, "lists", "show", ANT)
    site.call("lists", "create", "b@example.org", "--owner", "nobody")
    site.call("lists", "set", ANT, "emergency=yes", "subjct_prefix=x")
    assert rows(site, "lists", "show", ANT) == before
    assert [row["address"] for row in rows(site, "lists", "ls")] == [ANT]


def test_with_domains_set_a_list_elsewhere_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path, '[site]\ndomains = ["example.org"]\n')
    assert_refused(site.call("lists", "create", "ant@example.com"), "example.com", "domains")
    site.do("lists", "create", ANT)


def test_a_long_name_is_taken_with_a_warning(tmp_path: Path) -> None:
    done = make_site(tmp_path).call("lists", "create", "a" * 32 + "@example.org")
    assert done.code == 0
    assert "31 octets" in done.err


def test_remove_takes_the_members_along_and_asks_nobody_without_a_terminal(site: StoppedSite) -> None:
    site.do("members", "add", ANT, "a@x.org", "b@x.org")
    assert "2 members" in site.do("lists", "remove", ANT)
    assert rows(site, "lists", "ls") == []


def answer_on_terminal(site: StoppedSite, question: str, answer: bytes, *arguments: str) -> int:
    """Run a command on a terminal of its own, answer its question, and return its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(POSTROOM, [str(POSTROOM), "--config", str(site.file), *arguments], clean_environment())
    said, deadline = b"", time.monotonic() + 30
    while question.encode() not in said:
        assert select.select([terminal], [], [], max(0.0, deadline - time.monotonic()))[0], said
        said += os.read(terminal, 4096)
    os.write(terminal, answer)
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)
    return os.waitstatus_to_exitcode(status)


def test_on_a_terminal_remove_asks_first(site: StoppedSite) -> None:
    assert answer_on_terminal(site, "for good?", b"n\n", "lists", "remove", ANT) == 1
    assert len(rows(site, "lists", "ls")) == 1
    assert answer_on_terminal(site, "for good?", b"y\n", "lists", "remove", ANT) == 0
    assert rows(site, "lists", "ls") == []


# Members


def test_members_are_added_once_and_counted(site: StoppedSite) -> None:
    assert "2 added" in site.do("members", "add", ANT, "a@x.org", "Bea <B@x.org>")
    assert "1 added" in site.do("members", "add", ANT, "A@X.org", "c@x.org", "c@x.org")
    assert addresses(site, "--role", "member") == ["a@x.org", "B@x.org", "c@x.org"]


def test_roles_are_apart(site: StoppedSite) -> None:
    site.do("members", "add", ANT, "a@x.org", "--role", "moderator")
    assert [(row["address"], row["role"]) for row in rows(site, "members", "ls", ANT)] == [
        ("a@x.org", "moderator"),
        ("anne@example.net", "owner"),
    ]


BAD_FILE = "# members\n\na@x.org\nnonsense\nBea <b@x.org>\na b@x.org\n"


@pytest.mark.parametrize("way", ["file", "stdin"])
def test_bad_lines_are_named_and_nothing_is_added(site: StoppedSite, tmp_path: Path, way: str) -> None:
    (tmp_path / "members.txt").write_text(BAD_FILE)
    if way == "file":
        done = site.call("members", "add", ANT, "--file", "members.txt", cwd=tmp_path)
    else:
        done = site.call("members", "add", ANT, "--file", "-", stdin=BAD_FILE)
    assert_refused(done, "line 4: 'nonsense'", "line 6:", "2 bad", "--skip-bad")
    assert addresses(site, "--role", "member") == []


def test_skip_bad_adds_the_good_ones_and_names_the_others(site: StoppedSite) -> None:
    done = site.call("members", "add", ANT, "--skip-bad", "--file", "-", stdin=BAD_FILE)
    assert done.code == 0
    assert "line 4" in done.err
    assert addresses(site, "--role", "member") == ["a@x.org", "b@x.org"]


def test_a_file_of_thousands_of_bad_lines_names_twenty(site: StoppedSite) -> None:
    done = site.call("members", "add", ANT, "--file", "-", stdin="bad\n" * 5000)
    assert_refused(done, "line 20:", "and 4980 more lines", "5000 bad")
    assert len(done.err.splitlines()) == 22


def test_a_file_that_is_no_text_is_refused(site: StoppedSite) -> None:
    assert_refused(
        site.call("members", "add", ANT, "--file", "-", stdin=b"\x00\xff" * 5000 + b"\n"), "line 1"
    )


@pytest.mark.parametrize("arguments", [[], ["a@x.org", "--file", "-"]])
def test_addresses_come_from_the_line_or_from_a_file(site: StoppedSite, arguments: list[str]) -> None:
    assert site.call("members", "add", ANT, *arguments).code == 2


def test_progress_is_told_in_lines_when_asked_for(site: StoppedSite) -> None:
    text = "".join(f"m{n}@x.org\n" for n in range(3000))
    done = site.call("members", "add", ANT, "--progress", "--file", "-", stdin=text)
    assert "3000 of 3000\n" in done.err
    assert "\r" not in done.err
    assert site.call("members", "add", ANT, "--file", "-", stdin=text).err == ""


def test_a_hundred_thousand_members_take_seconds(site: StoppedSite) -> None:
    begun = time.monotonic()
    site.do("members", "add", ANT, "--file", "-", stdin="".join(f"m{n}@x.org\n" for n in range(100_000)))
    assert time.monotonic() - begun < 30, "seconds, on a busy machine too"
    assert len(addresses(site, "--role", "member")) == 100_000


def test_a_paused_listing_stops_nobody(site: StoppedSite) -> None:
    """A reader that takes nothing keeps no read of the store open, so a writer need not wait."""
    site.do("members", "add", ANT, "--file", "-", stdin="".join(f"m{n}@x.org\n" for n in range(20_000)))
    command = [str(POSTROOM), "--config", str(site.file), "members", "ls", ANT]
    with subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE) as listing:
        assert listing.stdout is not None
        assert (
            listing.stdout.readline() == b"owner      anne@example.net\n"
        )  # it runs, and its pipe is full now
        begun = time.monotonic()
        site.do("members", "add", ANT, "late@x.org")
        assert time.monotonic() - begun < 10
        assert len(listing.stdout.read().splitlines()) >= 20_000


def test_remove_names_who_was_not_there(site: StoppedSite) -> None:
    site.do("members", "add", ANT, "a@x.org", "b@x.org")
    assert_refused(
        site.call("members", "remove", ANT, "A@x.org", "nobody@x.org"), "nobody@x.org", "1 did not"
    )
    assert addresses(site, "--role", "member") == ["b@x.org"]
    site.do("members", "remove", ANT, "--role", "owner", "anne@example.net")
    assert addresses(site) == ["b@x.org"]


def test_one_member_can_be_changed(site: StoppedSite) -> None:
    site.do("members", "add", ANT, "a@x.org")
    site.do("members", "set", ANT, "A@x.org", "delivery=no", "moderation_action=hold")
    (row,) = rows(site, "members", "ls", ANT, "--role", "member")
    assert (row["delivery"], row["moderation_action"]) == (False, "hold")


def test_an_alias_domain_has_no_lists_of_its_own(site: StoppedSite) -> None:
    site.file.write_text('[site]\ndomain_aliases = {"old.example" = "example.org"}\n' + site.file.read_text())
    assert_refused(
        site.call("lists", "create", "bee@old.example"), "another name of example.org", "bee@example.org"
    )
    assert rows(site, "lists", "show", "Ant@OLD.example")["address"] == ANT
    site.do("members", "add", "ant@old.example", "a@x.org")
    site.do("bans", "add", "<ant@old.example>", "evil@x.org")
    assert [row["list_id"] for row in rows(site, "bans", "ls", ANT)] == ["ant.example.org"]
    assert_refused(site.call("lists", "show", "bee@old.example"), "no list 'bee@old.example'")
    assert (
        site.call("why", "a@x.org", "ant@OLD.example", "--json").json()["text"].endswith("of ant.example.org")
    )


# Persons


def others(site: StoppedSite, address: str) -> list[str]:
    return list(rows(site, "members", "show", ANT, address)["also"])


def test_every_address_of_a_person_may_post(site: StoppedSite) -> None:
    site.do("lists", "set", ANT, "generic_nonmember_action=reject")
    site.do("members", "add", ANT, "a@x.org")
    told = site.do("members", "set", ANT, "a@x.org", "--also", "a@work.org", "--also", "A@club.org")
    assert "also       A@club.org, a@work.org" in told
    assert others(site, "A@X.org") == ["A@club.org", "a@work.org"]
    for sender in ("a@work.org", "a@CLUB.org", "SRS0=x=y=work.org=a@forward.example"):
        assert site.call("why", sender, ANT, "--json").json()["rule"] == "member"
    site.do("members", "set", ANT, "a@x.org", "delivery=no", "--not-also", "a@CLUB.org")
    assert others(site, "a@x.org") == ["a@work.org"]
    assert site.call("why", "a@club.org", ANT, "--json").json()["rule"] == "not-a-member"
    site.do("members", "set", ANT, "a@x.org", "--not-also", "a@work.org")
    assert others(site, "a@x.org") == []
    assert site.call("why", "a@work.org", ANT).code == 1


def test_linking_that_cannot_be_is_refused_and_changes_nothing(site: StoppedSite) -> None:
    site.do("members", "add", ANT, "a@x.org")
    refuse = ["members", "set", ANT, "a@x.org", "--also", "b@x.org"]
    assert_refused(site.call(*refuse, "--also", "no address"), "no @")
    assert_refused(
        site.call(*refuse, "--not-also", "c@x.org"), "c@x.org is not an address of a@x.org's person"
    )
    assert_refused(site.call(*refuse, "--also", "A@x.org"), "this very address")
    assert_refused(site.call("members", "set", ANT, "c@x.org", "--also", "d@x.org"), "c@x.org is not in")
    assert others(site, "a@x.org") == []
    assert_refused(site.call("members", "show", ANT, "b@x.org"), "b@x.org is not in ant.example.org")
    assert site.call("members", "set", ANT, "a@x.org").code == 2


# Bans


def test_bans_are_of_a_list_or_of_the_site(site: StoppedSite) -> None:
    site.do("bans", "add", ANT, "evil@x.org")
    assert "as before" in site.do("bans", "add", ANT, "evil@x.org")
    site.do("bans", "add", "^.*@spam\\.example$")
    assert [row["pattern"] for row in rows(site, "bans", "ls", ANT)] == ["evil@x.org"]
    assert [row["list_id"] for row in rows(site, "bans", "ls")] == ["", "ant.example.org"]
    site.do("bans", "rm", ANT, "evil@x.org")
    assert rows(site, "bans", "ls", ANT) == []


# Why


@pytest.fixture(scope="module")
def closed(template: StoppedSite, tmp_path_factory: pytest.TempPathFactory) -> StoppedSite:
    """A closed list with a member and a banned one."""
    folder = tmp_path_factory.mktemp("closed")
    shutil.copytree(template.file.parent, folder, dirs_exist_ok=True)
    made = StoppedSite(folder / template.file.name)
    made.do("lists", "set", ANT, "generic_nonmember_action=reject")
    made.do("members", "add", ANT, "a@x.org", "evil@x.org")
    made.do("bans", "add", "evil@x.org")
    return made


@pytest.mark.parametrize(
    ("sender", "recipient", "code", "answer"),
    [
        ("a@x.org", ANT, 0, ("accepted", 250, "member")),
        ("stranger@x.org", ANT, 1, ("refused", 550, "not-a-member")),
        ("stranger@x.org", "<ant-owner@example.org>", 0, ("accepted", 250, "open-address")),
        ("<>", ANT, 1, ("refused", 550, "null-sender")),  # RCPT takes it, for callouts; the dot does not
        ("", "ant-bounces+x=y.z@example.org", 0, ("accepted", 250, "open-address")),
        ("a@x.org", "bee@example.org", 1, ("refused", 550, "unknown-list")),
        ("a@x.org", "ant@example.com", 1, ("refused", 550, "foreign-domain")),
        ("evil@x.org", ANT, 1, ("refused", 550, "banned")),
    ],
)
def test_why_answers_as_the_front_end_would(
    closed: StoppedSite, sender: str, recipient: str, code: int, answer: tuple[str, int, str]
) -> None:
    done = closed.call("why", sender, recipient, "--json")
    assert done.code == code
    facts = done.json()
    assert (facts["verdict"], facts["code"], facts["rule"]) == answer
    assert facts["enhanced"].startswith(str(facts["code"])[0])
    assert facts["text"]


def test_why_tells_whom_a_sender_stands_for(closed: StoppedSite) -> None:
    done = closed.call("why", "SRS0=h=t=x.org=a@forward.example", ANT)
    assert done.out.startswith("sender: stands for a@x.org too (form srs0)\naccepted: 250 2.1.5")


@pytest.mark.parametrize(
    ("config", "words"),
    [("", "for nobody: [site] owner is not set"), ('[site]\nowner = "root@x.org"\n', "for root@x.org")],
)
def test_why_tells_who_reads_postmaster(site: StoppedSite, config: str, words: str) -> None:
    site.file.write_text(config + site.file.read_text())
    done = site.call("why", "stranger@x.org", "Postmaster@example.org")
    assert (done.code, done.err) == (0, "")
    assert (
        done.out
        == f"accepted: 250 2.1.5 goes to queue owner as owner of the site, {words} (rule open-address)\n"
    )


def test_why_tells_a_person_the_reply_and_the_rule(closed: StoppedSite) -> None:
    done = closed.call("why", "stranger@x.org", ANT)
    assert done == Done(1, "refused: 550 5.7.1 Only members may post to this list (rule not-a-member)\n", "")


@pytest.mark.parametrize(
    ("sender", "header", "then"),
    [
        ("a@x.org", "", ("accept", "member-moderation")),
        ("stranger@x.org", "", ("hold", "generic-nonmember-action")),
        ("stranger@x.org", "From: a@x.org", ("accept", "member-moderation")),
        ("a@x.org", "List-Id: <ant.example.org>", ("discard", "loop")),
    ],
)
def test_why_tells_what_becomes_of_a_post_that_is_accepted(
    site: StoppedSite, sender: str, header: str, then: tuple[str, str]
) -> None:
    site.do("members", "add", ANT, "a@x.org")
    message = ["--message", "/dev/stdin"] if header else []
    facts = site.call("why", sender, ANT, "--json", *message, stdin=f"{header}\n\nHello\n").json()
    assert (facts["verdict"], facts["then"], facts["then_rule"]) == ("accepted", *then)


def test_why_shows_what_each_rule_says_of_a_message(site: StoppedSite) -> None:
    site.do("lists", "set", ANT, "header_matches=X-Spam: yes -> reject", "no_subject_action=hold")
    done = site.call("why", "a@x.org", ANT, "--message", "/dev/stdin", stdin="X-Spam: yes\n\nHello\n")
    assert done.code == 1
    first, *rules = done.out.splitlines()
    assert (
        first
        == "refused: 550 5.7.1 This list does not take mail with this X-Spam field (rule header-matches)"
    )
    told = [line.split() for line in rules]
    assert ["header-matches", "reject", "<-", "decides"] in told
    assert ["no-subject", "hold"] in told
    assert ["banned", "pass"] in told
    answer = site.call(
        "why", "a@x.org", ANT, "--message", "/dev/stdin", "--json", stdin="X-Spam: no\n\nHello\n"
    )
    assert answer.code == 0
    rows = {row["rule"]: row for row in answer.json()["rules"]}
    assert [rows[name]["result"] for name in ("null-sender", "generic-nonmember-action", "no-subject")] == [
        "pass",
        "hold",
        "hold",
    ]
    assert [name for name, row in rows.items() if row["decides"]] == ["generic-nonmember-action"]


def test_why_without_a_message_says_what_only_a_message_can_tell(closed: StoppedSite) -> None:
    closed.do(
        "lists",
        "create",
        "bee@example.org",
        "--set",
        "generic_nonmember_action=reject",
        "--set",
        "sender_check=message",
    )
    closed.do("members", "add", "bee@example.org", "a@x.org")
    facts = closed.call("why", "z@x.org", "bee@example.org", "--json").json()
    assert (facts["verdict"], facts["then"], facts["then_rule"]) == (
        "accepted",
        "reject",
        "generic-nonmember-action",
    )
    assert {row["result"] for row in facts["rules"] if row["rule"] == "loop"} == {"needs the message"}
    assert "unless From: or Sender: is a member's" in closed.call("why", "z@x.org", "bee@example.org").out
    for author, code in (("a@x.org", 0), ("z@x.org", 1)):
        done = closed.call(
            "why", "z@x.org", "bee@example.org", "--message", "/dev/stdin", stdin=f"From: {author}\n\nx\n"
        )
        assert done.code == code


def test_why_judges_a_message_too(site: StoppedSite, tmp_path: Path) -> None:
    site.do("lists", "set", ANT, "max_message_size=100", "generic_nonmember_action=accept")
    (tmp_path / "mail").write_bytes(b"x\n" * 200)
    done = site.call("why", "a@x.org", ANT, "--message", tmp_path / "mail", "--json")
    assert (done.code, done.json()["code"]) == (1, 552)


@pytest.mark.parametrize(
    ("sender", "recipient", "code", "answer"),
    [
        ("a@x.org>", ANT, 1, (501, "5.5.4", "syntax")),
        ("a", ANT, 1, (553, "5.1.7", "syntax")),
        ("a@x.org\r\nRCPT TO:<ant@example.org", ANT, 1, (500, "5.5.2", "syntax")),
        ("a@x.org", "ant", 1, (553, "5.1.3", "syntax")),
        ("a@x.org", "", 1, (553, "5.1.3", "syntax")),
        ("a@x.org", "<@relay.example:ant@example.org>", 0, (250, "2.1.5", "generic-nonmember-action")),
        ('"a"@x.org', ANT, 0, (250, "2.1.5", "generic-nonmember-action")),
        ("g\u00fcnter@x.org", ANT, 0, (250, "2.1.5", "generic-nonmember-action")),
    ],
)
def test_why_reads_addresses_as_the_dialogue_does(
    site: StoppedSite, sender: str, recipient: str, code: int, answer: tuple[int, str, str]
) -> None:
    """A source route is no part of an address, nor are quotes that it does not need; what is none is not asked about."""
    done = site.call("why", sender, recipient, "--json")
    assert done.code == code
    facts = done.json()
    assert (facts["code"], facts["enhanced"], facts["rule"]) == answer
    assert [each["address"] for each in facts["senders"][:1]] == (
        [] if answer[2] == "syntax" else [sender.replace('"', "")]
    )


@pytest.mark.parametrize(
    ("message", "newlines", "code"),
    [
        (b"Subject: x\r\n\r\na\nb\r\n", "reject", 550),
        (b"Subject: x\r\n\r\na\rb\r\n", "reject", 550),
        (b"Subject: x\n\na\rb\n", "reject", 550),
        (b"Subject: x\n\na\nb\n", "reject", 250),
        (b"Subject: x\n\na\r\nb\n.\n", "reject", 250),
        (b"Subject: x\r\n\r\na\nb\r\n", "normalize", 250),
    ],
)
def test_why_tells_of_bare_newlines(
    site: StoppedSite, tmp_path: Path, message: bytes, newlines: str, code: int
) -> None:
    """A file of a Unix machine has LF for CR LF; one with CR LF is what was on the wire."""
    site.file.write_text(site.file.read_text() + f'bare_newlines = "{newlines}"\n')
    (tmp_path / "mail").write_bytes(message)
    facts = site.call("why", "a@x.org", ANT, "--message", tmp_path / "mail", "--json").json()
    assert facts["code"] == code
    if code == 550:
        assert (facts["enhanced"], facts["rule"]) == ("5.6.11", "bare-newlines")


# The store


def test_a_store_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "lists.db").write_bytes(b"this is no database, whatever its name says" * 100)
    site = make_site(tmp_path, f'[lists]\nstore = "sqlite:///{tmp_path}/lists.db"\n')
    assert_refused(site.call("lists", "ls"), "list store")
