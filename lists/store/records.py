"""Reads of what is remembered beside the memberships, for timers and commands: history, bounces, tokens, requests, what is due; and trimming it.

Each call is one short transaction. Long listings go in pages; trimming goes in batches, so that others get their turn.
"""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, Engine

from config.names import ListId
from lists.records import Due, DueKind, Evidence, Freeze, History, Request, Token
from lists.store import bounces, budgets, due, history, waiting
from lists.store.engine import reading, writing

PAGE = 500
TRIM_BATCH = 1000  # rows of one write: about 10 ms


class Records:
    """What the list store remembers; lists are named by their list-id, and may be gone."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(
        self, kind: DueKind, before: datetime, after: tuple[int, int] = due.START, limit: int = PAGE
    ) -> tuple[Due, ...]:
        """Return one page of what is due before a time, oldest first; `after` is the `place` of the last one."""
        with reading(self._engine) as connection:
            return due.list_due(connection, kind, before, after, limit)

    def history(
        self, list_id: str, address: str | None = None, before: int | None = None, limit: int = PAGE
    ) -> tuple[History, ...]:
        """Return one page of the history of an address or a whole list, newest first; `before` is the `id` of the last one."""
        with reading(self._engine) as connection:
            return history.read_history(connection, ListId(list_id), address, before, limit)

    def evidence(self, list_id: str, address: str, limit: int = 20) -> tuple[Evidence, ...]:
        """Return the newest bounces of an address, member or not, newest first."""
        with reading(self._engine) as connection:
            return bounces.read_evidence(connection, list_id, address, limit)

    def freezes(self, list_id: str) -> tuple[Freeze, ...]:
        """Return what is frozen in a list ("": in the whole site)."""
        with reading(self._engine) as connection:
            return bounces.read_freezes(connection, list_id)

    def requests(self, list_id: str | None = None, after: int = 0, limit: int = PAGE) -> tuple[Request, ...]:
        """Return one page of open requests, oldest first, of one list or all; `after` is the `id` of the last one."""
        with reading(self._engine) as connection:
            return waiting.list_requests(
                connection, None if list_id is None else ListId(list_id), after, limit
            )

    def tokens(
        self, list_id: str | None = None, after: int = 0, limit: int = PAGE
    ) -> tuple[tuple[int, Token], ...]:
        """Return one page of tokens with their numbers, oldest first, of one list or all; `after` is the last number."""
        with reading(self._engine) as connection:
            return waiting.list_tokens(connection, None if list_id is None else ListId(list_id), after, limit)

    def trim_tokens(self, expired_before: datetime) -> int:
        """Forget tokens that expired before; returns how many. Until then a late answer is told from a wrong one."""
        return self._trim(waiting.trim_tokens, expired_before)

    def trim_evidence(self, before: datetime) -> int:
        """Forget bounces from before; returns how many."""
        return self._trim(bounces.trim_evidence, before)

    def trim_budgets(self, begun_before: datetime) -> int:
        """Forget budgets whose window began before; returns how many. A day is enough (gate.DAY_MS)."""
        return self._trim(budgets.trim_budgets, begun_before)

    def _trim(self, trim: Callable[[Connection, datetime, int], int], before: datetime) -> int:
        total = 0
        while True:
            with writing(self._engine) as connection:
                gone = trim(connection, before, TRIM_BATCH)
            total += gone
            if gone < TRIM_BATCH:
                return total
