"""A store of an earlier version becomes one of this version, with everything that was in it."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from lists.store import Store, migrate
from lists.store.engine import make_engine, make_file
from lists.store.schema import metadata
from tests.support.lists import make_settings

# As the first version wrote them.
FIRST_ROWS = (
    "INSERT INTO person (id, display_name, created_at) VALUES (1, '', 5)",
    "INSERT INTO address (address_key, address, person_id, created_at) VALUES ('anne@example.net', 'Anne@example.net', 1, 5)",
    "INSERT INTO address (address_key, address, person_id, created_at) VALUES ('a@example.com', 'a@example.com', 1, 5)",
    "INSERT INTO address (address_key, address, created_at) VALUES ('bart@example.net', 'bart@example.net', 6)",
    "INSERT INTO list (id, list_id, address, created_at, version, rewritten, deliveries) VALUES (3, 'ant.example.org', 'ant@example.org', 5, 2, 2, 0)",
    "INSERT INTO setting (list_row, name, value) VALUES (3, 'emergency', 'true')",
    "INSERT INTO membership (id, list_row, address_key, role, delivery, moderation_action, created_at) VALUES (17, 3, 'anne@example.net', 'member', 1, 'hold', 7000)",
    "INSERT INTO membership (id, list_row, address_key, role, delivery, moderation_action, created_at) VALUES (18, 3, 'bart@example.net', 'member', 0, '', 8000)",
    "INSERT INTO membership (id, list_row, address_key, role, delivery, moderation_action, created_at) VALUES (19, 3, 'bart@example.net', 'owner', 1, '', 8000)",
    "INSERT INTO ban (list_id, pattern, created_at) VALUES ('', 'troll@example.net', 5)",
    "INSERT INTO held_post (list_id, item_id, reverse_path, reason, message_id, subject, size, created_at, content)"
    " VALUES ('ant.example.org', 'x', 'c@example.net', 'emergency', '', '', 3, 9, x'414243')",
)


@pytest.fixture
def first_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a store as the first version left it."""
    settings = make_settings(tmp_path)
    engine = make_engine(settings.lists.store)
    make_file(tmp_path / "lists.db")
    with monkeypatch.context() as patch:
        patch.setattr(migrate, "HEAD", "1")
        patch.setattr(migrate, "REVISIONS", ("1",))
        migrate.ensure_schema(engine, tmp_path / "lists.db")
    with engine.begin() as connection:
        for statement in FIRST_ROWS:
            connection.exec_driver_sql(statement)
    engine.dispose()
    return tmp_path


def test_the_first_version_comes_up_with_all_that_was_in_it(first_store: Path) -> None:
    with Store(make_settings(first_store)) as store:
        anne, bart, owner = store.members("ant@example.org")
        assert (anne.address, anne.id, anne.moderation_action) == ("Anne@example.net", 17, "hold")
        assert (anne.delivery_status, anne.delivery_mode, anne.joined_at.timestamp()) == (
            "enabled",
            "regular",
            7,
        )
        assert anne.receive_own_postings
        assert (anne.acknowledge_posts, anne.hide_address) == (False, False)
        assert (bart.delivery_status, bart.status_why) == ("by_owner", "from an earlier version")
        assert (owner.role, owner.delivery_status) == ("owner", "enabled")
        assert store.find_list("ant@example.org").settings.emergency
        assert [ban.pattern for ban in store.bans("")] == ["troll@example.net"]
        assert store.held_post(1)[1] == b"ABC"
        assert store.look(lambda roster: roster.addresses_of_person("a@example.com")) == (
            "Anne@example.net",
            "a@example.com",
        )


def test_a_migrated_store_has_the_tables_of_a_new_one(first_store: Path) -> None:
    with Store(make_settings(first_store)) as store, store.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_migrated_store_never_uses_a_number_again(first_store: Path) -> None:
    with Store(make_settings(first_store)) as store:
        store.remove_members("ant@example.org", ["bart@example.net"])
        store.add_members("ant@example.org", ["cris@example.net"])
        assert store.members("ant@example.org")[-1].id == 20
