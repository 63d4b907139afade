"""Outcomes of effects on the list store are forgotten when nobody can need them any more, and not before."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from config.clock import Clock
from config.names import Instance, ItemId
from lists.changes import AddBounce, MakeToken, SpendBudget
from lists.gate import Spent
from lists.records import Evidence
from runners import Ack
from runners.site import Decision, Site
from tests.support.bus_process import make_item
from tests.support.runners import RunnerSite

pytestmark = pytest.mark.slow


def test_an_outcome_outlives_48_hours_only_while_the_bus_has_its_item(tmp_path: Path) -> None:
    """Without a runner of its own the item of queue bounces stays in the journal; the other was never there."""
    with RunnerSite(tmp_path) as running:
        waiting = make_item("bounces", recipient="ant-bounces@example.org")
        running.publish(waiting, b"Subject: x\r\n\r\n")
        gone = ItemId("f" * 32)
        site = Site(running.settings, Instance("test:1"))
        now = Clock().now()

        async def effect(item_id: ItemId, reason: str) -> str:
            outcome = await site.store.apply_once(item_id, lambda roster: Decision(Ack(reason=reason)))
            assert isinstance(outcome, Ack)
            return outcome.reason

        async def work() -> None:
            assert (
                await site.store.trim(now + timedelta(days=30)) == 0
            )  # the store was not used: nothing to do
            for item_id in (waiting.id, gone):
                await effect(item_id, "first")
            assert await site.store.trim(now + timedelta(hours=47)) == 0
            assert await site.store.trim(now + timedelta(hours=49)) == 1
            assert await effect(waiting.id, "again") == "first"
            assert await effect(gone, "again") == "again"

        asyncio.run(work())
        site.close()


def test_tokens_evidence_and_budgets_have_windows_of_their_own(tmp_path: Path) -> None:
    with RunnerSite(tmp_path) as running:
        list_id = running.create_list("ant@example.org", members=["bart@example.net"])
        site = Site(running.settings, Instance("test:1"))
        now = Clock().now()
        changes = (
            MakeToken(
                hash="0" * 64, purpose="confirm", list_id=list_id, address="zoe@example.net", expires_at=now
            ),
            AddBounce(list_id, "bart@example.net", Evidence(day=now.date(), bounce_class="full")),
            SpendBudget("1" * 32, Spent(int(now.timestamp() * 1000), 1)),
        )

        async def work() -> None:
            await site.store.apply_once(ItemId("f" * 32), lambda _: Decision(Ack(), changes))
            assert await site.store.trim(now + timedelta(hours=47)) == 0
            assert await site.store.trim(now + timedelta(hours=49)) == 2, "the outcome and the budget"
            assert await site.store.trim(now + timedelta(days=29)) == 0
            assert await site.store.trim(now + timedelta(days=31)) == 1, "the token"
            assert await site.store.trim(now + timedelta(days=364)) == 0
            assert await site.store.trim(now + timedelta(days=366)) == 1, "the evidence"

        asyncio.run(work())
        site.close()
