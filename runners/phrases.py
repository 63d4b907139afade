"""Short sentences of our own in the reader's language: results of commands, and what fills the texts of templates.

A text is filled with values: words that stay as they are, days, phrases (an English sentence that is looked up in the catalog of the reader's language, then
filled itself), and lines of all these. Catalogs are .po files beside the texts, read when first needed. English needs none; a sentence that a
catalog lacks stays English.
"""

import string
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final, Union

from msgspec import Struct

CATALOGS: Final = Path(__file__).parent / "catalogs"
DAY: Final = "$weekday, $day $month $year"
WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

Value = Union[str, date, "Phrase", tuple["Value", ...]]  # a tuple: lines


class Phrase(Struct, frozen=True):
    """A sentence of ours, "$name" in it filled from `values`."""

    text: str  # English, as the catalogs name it
    values: Mapping[str, Value] = {}


def spell(value: Value, language: str) -> str:
    """Return a value as text in a language ("de", "pt_BR"); raises KeyError when a phrase names what it is not given."""
    match value:
        case str():
            return value
        case Phrase(text=text, values=values):
            return _fill(text, {name: spell(each, language) for name, each in values.items()}, language)
        case tuple():
            return "\n".join(spell(each, language) for each in value)
        case _:
            return _spell_day(value, language)


def _fill(text: str, values: Mapping[str, str], language: str) -> str:
    return string.Template(translate(text, language)).substitute(values)


def _spell_day(day: date, language: str) -> str:
    names = {
        "weekday": translate(WEEKDAYS[day.weekday()], language),
        "day": str(day.day),
        "month": translate(MONTHS[day.month - 1], language),
        "year": str(day.year),
    }
    return _fill(DAY, names, language)


def translate(text: str, language: str) -> str:
    """Return a sentence in a language: of the country, else of the language at large, else as it is."""
    for each in dict.fromkeys((language, language.partition("_")[0])):
        found = catalog(each).get(text)
        if found:
            return found
    return text


@cache
def catalog(language: str) -> Mapping[str, str]:
    """Return the sentences that a language has; those that somebody must look at again (fuzzy) are left out."""
    path = CATALOGS / f"{language}.po"
    if not language.replace("_", "").isalpha() or not path.exists():
        return {}
    import polib  # here: a site whose mail is English never needs it

    return {each.msgid: each.msgstr for each in polib.pofile(str(path)) if each.translated()}
