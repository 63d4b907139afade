"""docs/policy.md knows every rule of RCPT and every form of a sender, and no other."""

import re
from datetime import date
from pathlib import Path

from config.lmtp_settings import LmtpSettings
from lists import policy
from lists.sender_forms import FORMS
from lists.senders import sender_keys

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "policy.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
NAMES = {name for row in ROWS for name in re.findall(r"`([a-z0-9-]+)`", row[0])}


def test_every_refusal_stands_there_with_its_code() -> None:
    refusals = [each for each in vars(policy).values() if isinstance(each, policy.Refused)]
    assert len(refusals) == 6
    for refusal in refusals:
        (row,) = (row for row in ROWS if f"`{refusal.rule}`" in row[0])
        assert row[1] == f"{refusal.code} {refusal.enhanced}"


def test_every_rule_that_takes_stands_there() -> None:
    source = Path(policy.__file__).read_text()
    rules = set(re.findall(r'Taken\([^\n]*"([a-z-]+)"\)|return "([a-z-]+)"', source))
    named = {name for pair in rules for name in pair if name}
    assert "open-address" in named
    assert named <= NAMES


def test_every_form_of_a_sender_stands_there_with_a_true_example() -> None:
    rows = {row[0].strip("`"): row for row in ROWS if row[0].strip("`") in {form.name for form in FORMS}}
    assert rows.keys() == {form.name for form in FORMS}
    for name, row in rows.items():
        examples = re.findall(r"`([^`]+@[^`]+)`", row[1])
        assert examples, name
        assert all("anne@example.net" in sender_keys(example) for example in examples)


def test_the_limits_are_those_of_the_settings() -> None:
    defaults = LmtpSettings()
    for number in (defaults.guesses_per_client, defaults.guesses_per_peer):
        assert any(f"{number} an hour" in line or f"{number:,} an hour" in line for line in PAGE.splitlines())


def test_the_day_in_the_example_is_one() -> None:
    (day,) = re.findall(r'mailman_tokens_until = "([^"]+)"', PAGE)
    assert date.fromisoformat(day)
