"""How mail comes back in a story: a report from the other side's MTA, by LMTP."""

from tests.support.bounces import block, make_dsn
from tests.support.story import Story


def returns(
    story: Story, address: str, to: str = "ant-bounces@example.org", *, status: str = "5.1.1", said: str = ""
) -> None:
    """Let a mail to somebody come back to the address that it was sent from."""
    report = make_dsn(block(address, status=status, said=said or f"550 {status} no such user"))
    assert story.says("", to, content=report, reverse_path="").startswith("250 2.0.0")
