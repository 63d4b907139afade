"""The SQLite file of a journal: one connection, changes written in one transaction, and what an error of it means.

WAL with synchronous=FULL: a commit that returned is on stable storage (NORMAL lost 192 of 500 acknowledged rows in a power cut). The
connection is exclusive: there is no second reader that could block a checkpoint. A checkpoint that fails loses nothing, since it writes
the same pages from SQLite's log again. That log is kept smaller than the ballast: once the ballast is given up, the log can be emptied and
what is queued can leave. After an error that says "no space" nothing of the transaction is there and the journal goes on; after any other nobody
knows what the disk has, and the caller ends the process. SQL is tables.py's, bodies are bodies.py's.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from bus.journal import space, tables
from bus.journal.api import Broken, Corrupt, Full
from bus.journal.batch import Changes, Known, Wanted
from bus.journal.bodies import Bodies
from config.failpoints import fail

T = TypeVar("T")


class Database:
    """One open file. Once it has raised Broken it writes nothing more."""

    def __init__(self, path: Path, connection: sqlite3.Connection, bodies: Bodies) -> None:
        self.connection = connection
        self.bodies = bodies
        self.path = path
        self._failed: Broken | None = None
        self._absence = tables.load_absence(connection)

    def check(self) -> None:
        """Raise Broken if the disk has failed before: SQLite would go on after a failed fsync; we must not."""
        if self._failed is not None:
            raise self._failed

    def load(self, want: Wanted) -> Known:
        """Read what a batch names. Raises Broken, also for a damaged note."""
        self._absence.narrow(want)
        try:
            return tables.load(self.connection, want)
        except (sqlite3.Error, Corrupt) as error:
            raise self.judge(error) from error

    def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Read something; whatever goes wrong there is a failed disk. Raises Broken; what `question` raises otherwise."""
        try:
            return question(self.connection)
        except sqlite3.Error as error:
            raise Broken(f"{self.path}: {error}") from error

    def ask_with(self, changes: Changes, now_ms: int, question: Callable[[sqlite3.Connection], T]) -> T:
        """Read what would be there after these changes, for which there may be no space; they are taken back."""
        self.check()
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            tables.save(self.connection, changes, now_ms)
            return question(self.connection)
        except sqlite3.Error as error:
            raise self.judge(error) from error
        finally:
            self._roll_back(is_certain=True)

    def save(self, changes: Changes, now_ms: int, marks: Mapping[str, int]) -> None:
        """Write changes down, durably and whole, with `marks` for the table meta. Raises Full: nothing is there; Broken."""
        self.check()
        try:
            self._save(changes, now_ms, marks)
        except Full:
            if not self._empty_log():
                raise
            self._save(changes, now_ms, marks)
        if changes.shrink:
            self._empty_log()  # the file becomes shorter with the checkpoint only, and few pages may never bring one about

    def _save(self, changes: Changes, now_ms: int, marks: Mapping[str, int]) -> None:
        connection = self.connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            tables.save(connection, changes, now_ms)
            dropped = tables.count_uses(connection, changes)
            new = {body: data for body, data in changes.bodies.items() if changes.uses[body] > 0}
            self.bodies.write(new, changes.uses)
            connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(marks.items()))
            fail("bus.flush.before")
            connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            verdict = self.judge(error)
            self._roll_back(is_certain=isinstance(verdict, Full))
            raise verdict from error
        except BaseException:
            self._roll_back(is_certain=connection.in_transaction)
            raise
        self._absence.add(changes)
        self.bodies.committed(new, dropped)
        fail("bus.flush.after")

    def judge(self, error: sqlite3.Error | OSError | Corrupt) -> Full | Broken:
        """Say whether there is no space, which can mend, or the disk failed; then nothing more is written."""
        text = f"{self.path}: {error}"
        if self._is_about_space(error):
            return Full(text)
        self._failed = Broken(text)
        return self._failed

    def _empty_log(self) -> bool:
        """Give the space of SQLite's log back, by carrying its pages over to the database; says whether that made room."""
        log = self.path.with_name(self.path.name + "-wal")
        if log.stat().st_size == 0:
            return False
        try:
            self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            verdict = self.judge(error)
            if isinstance(verdict, Broken):
                raise verdict from error
        return log.stat().st_size == 0

    def _roll_back(self, *, is_certain: bool) -> None:
        """Undo what was begun. Unless it is certain that it was not committed, its files stay: the next start knows."""
        with contextlib.suppress(sqlite3.Error):  # the first error is what counts
            if self.connection.in_transaction:  # SQLite may have rolled back by itself
                self.connection.execute("ROLLBACK")
        if is_certain:
            self.bodies.rolled_back()

    def _is_about_space(self, error: sqlite3.Error | OSError | Corrupt) -> bool:
        if isinstance(error, OSError):
            return space.is_out_of_space(error)
        code = getattr(error, "sqlite_errorcode", 0)
        if code == sqlite3.SQLITE_IOERR_WRITE:  # a quota, perhaps
            return space.has_no_space(self.path.with_name(self.path.name + ".probe"))
        return bool(code & 0xFF == sqlite3.SQLITE_FULL)
