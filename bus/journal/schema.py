"""The tables of the SQLite journal and how an older file becomes a newer one.

A version is a list of statements that leads from the one before. They run in one transaction with the new number
(`user_version`), so a crash in the middle leaves the old file. A file of a later version is refused: nobody guesses.
"""

import sqlite3
from pathlib import Path

from bus.journal.api import Unusable

APPLICATION_ID = 0x50727462  # "Prtb": tells our file from any other SQLite database

# item.row is AUTOINCREMENT: a number is never used again, not even after the last row went.
# Octets have a table of their own: counting the uses of a body must not rewrite a megabyte.
# A body with is_file has no octets row; its file is named by its number.
_VERSION_1 = (
    "CREATE TABLE meta (k TEXT PRIMARY KEY, v) WITHOUT ROWID",
    """CREATE TABLE item (
        row INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB NOT NULL UNIQUE,
        queue TEXT NOT NULL,
        list_id TEXT NOT NULL,
        place INTEGER NOT NULL,
        state INTEGER NOT NULL,
        due_ms INTEGER NOT NULL,
        accepted_ms INTEGER NOT NULL,
        entered_ms INTEGER NOT NULL,
        size INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        first_retry_ms INTEGER NOT NULL DEFAULT 0,
        crashes INTEGER NOT NULL DEFAULT 0,
        suspect INTEGER NOT NULL DEFAULT 0,
        begun_by TEXT,
        body INTEGER NOT NULL,
        recipients INTEGER NOT NULL,
        root BLOB NOT NULL,
        message_id TEXT NOT NULL,
        reason TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        shunted_ms INTEGER NOT NULL DEFAULT 0,
        env BLOB NOT NULL)""",
    "CREATE INDEX item_root ON item (root)",
    "CREATE INDEX item_shunted ON item (state) WHERE state = 2",
    """CREATE TABLE body (
        id INTEGER PRIMARY KEY,
        refs INTEGER NOT NULL,
        size INTEGER NOT NULL,
        is_file INTEGER NOT NULL,
        digest BLOB NOT NULL)""",
    "CREATE INDEX body_file ON body (is_file) WHERE is_file = 1",
    "CREATE TABLE octets (body INTEGER PRIMARY KEY, data BLOB NOT NULL)",
    "CREATE TABLE seen (number INTEGER PRIMARY KEY, id BLOB NOT NULL UNIQUE, at_ms INTEGER NOT NULL, key BLOB, first BLOB)",
    "CREATE TABLE unreplied (key BLOB PRIMARY KEY, id BLOB NOT NULL, at_ms INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE note (row INTEGER, number INTEGER, note BLOB NOT NULL, PRIMARY KEY (row, number)) WITHOUT ROWID",
    """CREATE TABLE counter (
        queue TEXT PRIMARY KEY,
        accepted INTEGER NOT NULL,
        produced INTEGER NOT NULL,
        released INTEGER NOT NULL,
        done INTEGER NOT NULL,
        dropped INTEGER NOT NULL,
        suppressed INTEGER NOT NULL,
        held INTEGER NOT NULL) WITHOUT ROWID""",
    "CREATE TABLE paused (queue TEXT PRIMARY KEY) WITHOUT ROWID",
)

# The name by which the redo log knows its journal. An older version would not read that log, so it must not open the file.
_VERSION_2 = ("INSERT INTO meta VALUES ('journal', randomblob(16))",)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_VERSION_1, _VERSION_2)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the tables up to date, inside the transaction that is open; raises Unusable."""
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise Unusable(
            f"{path} is not a journal: another program's database. Set [bus] journal to a path of its own."
        )
    if found > len(MIGRATIONS):
        raise Unusable(
            f"{path} was written by a later version (schema {found}, this one knows {len(MIGRATIONS)}). Start that version."
        )
    for statements in MIGRATIONS[found:]:
        for statement in statements:
            connection.execute(statement)
    if found < len(MIGRATIONS):
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
