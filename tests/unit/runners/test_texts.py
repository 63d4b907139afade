"""The texts that come with Postroom, in every language: whole, filled by their writers, and a site's own ones checked."""

import ast
import string
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from runners.held_posts import REASONS
from runners.phrases import CATALOGS, DAY, MONTHS, WEEKDAYS, Phrase, catalog, spell
from runners.text_check import STANDARD, check_folder
from runners.texts import BUILT_IN, Texts, load_template, template_names

RUNNERS = Path(__file__).resolve().parents[3] / "runners"
LANGUAGES = sorted(path.name for path in BUILT_IN.iterdir())
# What the writer of a text fills beside the standard names: every value that some call in runners/ gives with this text's name.
FILLED = {
    "bounce-removed": {"reason"},
    "bounce-warning": {"reason", "removal", "confirm_address"},
    "confirm-join": {"confirm_address", "expires"},
    "confirm-leave": {"confirm_address", "expires"},
    "confirm-set": {"settings", "confirm_address", "expires"},
    "owner-bounce-disabled": {"member", "reason", "warnings", "removal"},
    "owner-bounce-frozen": {"what", "count", "until", "reason"},
    "owner-bounce-removed": {"member", "reason", "warnings"},
    "owner-complaint": {"member", "consequence"},
    "owner-held": {"sender", "subject", "reason", "size", "accept_address", "discard_address"},
    "owner-joined": {"member"},
    "owner-left": {"member"},
    "owner-request": {"member", "action", "approve_address", "refuse_address", "expires"},
    "owner-undelivered": {"day", "count", "members"},
    "post-held": {"reason"},
    "request-refused": {"action"},
    "request-waits": {"action"},
    "results": {"results"},
    "settings-changed": {"settings"},
}


def phrases() -> Iterator[str]:
    """Every sentence that a Phrase is made of, as it stands in the code."""
    for path in sorted(RUNNERS.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Phrase" and node.args:
                assert isinstance(node.args[0], ast.Constant), f"{path.name}:{node.lineno} must be a literal"
                yield str(node.args[0].value)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", template_names())
def test_every_text_is_there_and_every_name_in_it_is_filled(name: str, language: str) -> None:
    template = load_template(BUILT_IN / language / f"{name}.txt")
    assert template.names() <= STANDARD | FILLED.get(name, set())
    assert max(map(len, template.body.splitlines())) <= 78


@pytest.mark.parametrize("name", template_names())
def test_every_language_tells_the_same(name: str) -> None:
    told = [
        load_template(BUILT_IN / language / f"{name}.txt").names() & FILLED.get(name, set())
        for language in LANGUAGES
    ]
    assert all(each == told[0] for each in told)


def test_every_text_is_named_by_a_writer_and_no_other_is() -> None:
    code = "".join(path.read_text() for path in RUNNERS.glob("*.py"))
    assert [name for name in template_names() if f'"{name}"' not in code] == []
    assert FILLED.keys() <= set(template_names())


def test_german_has_every_sentence() -> None:
    wanted = {*phrases(), *WEEKDAYS, *MONTHS, DAY}
    known = catalog("de")
    assert wanted - known.keys() == set()
    assert known.keys() - wanted == set(), "a sentence that nobody says any more"
    for text, german in known.items():
        names = string.Template(text).get_identifiers()
        assert sorted(string.Template(german).get_identifiers()) == sorted(names), text


def test_a_value_is_spelled_in_the_readers_language() -> None:
    value = (Phrase("$reason ($status)", {"reason": REASONS["emergency"], "status": "5.1.1"}), "ants")
    assert spell(value, "en") == "every post waits at present (5.1.1)\nants"
    assert spell(value, "de_AT") == "zur Zeit wartet jeder Beitrag (5.1.1)\nants"
    assert spell(date(2027, 3, 1), "de") == "Montag, 1. März 2027"
    assert spell(date(2027, 3, 1), "xx") == "Monday, 1 March 2027"
    assert spell(date(2027, 3, 1), "../../etc") == "Monday, 1 March 2027"
    assert (CATALOGS / "de.po").exists()


def test_a_country_gets_the_texts_of_its_language() -> None:
    texts = Texts(None)
    assert texts.find("welcome", None, "de-AT").subject == "Willkommen bei $list_name"
    assert texts.find("welcome", None, "fr").subject == "Welcome to $list_name"
    assert Texts(None, "de").find("welcome").subject == "Willkommen bei $list_name"


@pytest.mark.parametrize(
    ("place", "text", "line", "problem"),
    [
        ("site/en/welcome.txt", b"Subject: x\n\nHello $address\n$nobody\n", 4, "there is no $nobody"),
        ("site/en/welcome.txt", b"hello\n", 1, "line 1 must be"),
        ("site/en/welcome.txt", b"Subject: x\n\nfive $ \n", 3, "begins no name"),
        ("site/en/welcome.txt", b"Subject: x\n\n\xff\n", 0, "is not UTF-8"),
        ("site/en/welcom.txt", b"Subject: x\n\nx\n", 0, "there is no text 'welcom'"),
        ("en/welcome.txt", b"Subject: x\n\nx\n", 0, "nobody looks here"),
        ("lists/ant.example.org/welcome.txt", b"Subject: x\n\nx\n", 0, "nobody looks here"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(
    tmp_path: Path, place: str, text: bytes, line: int, problem: str
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    (found,) = check_folder(tmp_path)
    assert (found.path, found.line) == (str(file), line)
    assert problem in found.text


def test_a_good_file_has_no_problem(tmp_path: Path) -> None:
    file = tmp_path / "lists/ant.example.org/de/owner-held.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Subject: $sender $$\n\n${subject} $accept_address $list_name\n")
    assert list(check_folder(tmp_path)) == []
