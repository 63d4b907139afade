"""docs/overview.md is held against the code: each symbol that it names exists, and its events are those of the register."""

import importlib
import re
from pathlib import Path

import pytest

from config.logs import EVENTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "overview.md").read_text("utf-8")
PACKAGES = "config|lists|bus|lmtp|runners|master|admin"
SYMBOLS = sorted(set(re.findall(rf"`((?:{PACKAGES})(?:\.\w+)+)`", PAGE)) - set(EVENTS))


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_every_symbol_on_the_page_exists(symbol: str) -> None:
    parts = symbol.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return
    raise AssertionError(f"no module for {symbol}")


def test_the_page_names_symbols_and_registered_events() -> None:
    assert len(SYMBOLS) > 20
    events = re.findall(r"event `([\w.]+)`", PAGE)
    assert len(events) >= 5
    assert set(events) <= set(EVENTS)


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda page: page.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
