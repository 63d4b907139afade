"""docs/lists.md names what there is: roles, delivery, options of a member, causes."""

import re
from pathlib import Path
from typing import get_args

from lists.member_options import OPTIONS
from lists.model import ROLES, DeliveryStatus
from lists.records import OriginKind

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "lists.md").read_text()


def first_cells(head: str) -> set[str]:
    """The first cells of the table whose first column is `head`."""
    table = PAGE.partition(f"| {head} |")[2].partition("\n\n")[0]
    return set(re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE))


def test_the_page_has_every_role_status_and_cause() -> None:
    assert first_cells("role") == set(ROLES)
    assert first_cells("status") == set(get_args(DeliveryStatus))
    assert first_cells("cause") == set(get_args(OriginKind))


def test_the_page_has_every_option_of_a_member() -> None:
    assert first_cells("option") | {"delivery", "delivery_status", "until"} == {
        option.name for option in OPTIONS
    }
