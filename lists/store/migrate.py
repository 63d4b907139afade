"""Bringing the store's schema to this version: whoever comes first does it under a file lock, all others only compare.

Alembic is imported only when there is something to do (a third of a second, 10 MB). A migration is one transaction, so a process
killed in the middle leaves the old schema.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text

from lists.errors import StoreTooNew
from lists.store.engine import reading, writing
from lists.store.filelock import locked

REVISIONS = ("1", "2")  # every one there has been, oldest first
HEAD = REVISIONS[-1]
MIGRATIONS = Path(__file__).with_name("migrations")
LOCK_TIMEOUT_S = 120.0  # a migration of a large store by another process


def ensure_schema(engine: Engine, file: Path | None) -> None:
    """Return when the schema is this version's; raises StoreTooNew, or StoreAway when it cannot be brought there."""
    if _is_current(engine):
        return
    with _alone(file):
        if not _is_current(engine):
            _upgrade(engine)


def _is_current(engine: Engine) -> bool:
    with reading(engine) as connection:
        found = _revision(connection)
    if found is not None and found not in REVISIONS:
        raise StoreTooNew(found, HEAD)
    return found == HEAD


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _upgrade(engine: Engine) -> None:
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)

    def steps(revision: object, _: object) -> object:
        return script._upgrade_revs(HEAD, revision)  # type: ignore[arg-type]  # as alembic.command.upgrade does

    with (
        _first_writing(engine) as connection,
        EnvironmentContext(config, script, fn=steps) as environment,
    ):
        environment.configure(connection=connection, transactional_ddl=True)
        environment.run_migrations()


@contextmanager
def _first_writing(engine: Engine) -> Iterator[Connection]:
    """Write where there may be no table to lock yet; the file lock (a server: the catalogue's own locks) keeps others out."""
    if engine.dialect.name == "sqlite":
        with writing(engine) as connection:
            yield connection
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(7376731)"))  # any number that is ours alone
            yield connection


def _alone(file: Path | None) -> AbstractContextManager[None]:
    """Hold FILE.lock; on a server the migration's own transaction keeps others out."""
    if file is None:
        return nullcontext()
    return locked(Path(f"{file}.lock"), LOCK_TIMEOUT_S, 0.02, "another process migrates the store")
