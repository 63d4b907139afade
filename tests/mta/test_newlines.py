"""docs/mta-newlines.md says what the MTAs of Debian 12 really send."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from lmtp.data import count_bare
from tests.mta.newlines import Seen, observe_all, table

pytestmark = [pytest.mark.mta, pytest.mark.slow]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "mta-newlines.md"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Seen]]:
    """All cases through all MTAs."""
    return observe_all(tmp_path_factory.mktemp("newlines"))


def test_the_table_is_what_the_mtas_do(seen: dict[str, dict[str, Seen]]) -> None:
    """When an MTA has changed its ways, look at the default again; `python -m tests.mta.newlines` prints the new table."""
    assert table(seen) in PAGE.read_text("utf-8")


def test_postfix_exim_and_sendmail_never_send_a_bare_newline(seen: dict[str, dict[str, Seen]]) -> None:
    """That is why the default refuses them: mail through these three never meets it."""
    bare = {way: sum(map(count_bare, _messages(cases.values()))) for way, cases in seen.items()}
    assert {way for way, count in bare.items() if count} == {"OpenSMTPD relay", "OpenSMTPD mail.lmtp"}


def _messages(cases: Iterable[Seen]) -> list[bytes]:
    return [message for one in cases for message in one.messages]
