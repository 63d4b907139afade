"""Folders, key, settings and lock of a site."""

import grp
import os
import stat
from pathlib import Path

import msgspec
import pytest

from config.lmtp_settings import LmtpSettings
from config.settings import LogSettings, Settings, SiteSettings, decode
from master.state import Unusable, make_folders, make_key, read_scale, write_scale, write_settings


def make_settings(folder: Path, listen: list[str] | None = None, group: str = "") -> Settings:
    return Settings(
        site=SiteSettings(var=str(folder / "var"), run=str(folder / "var/run")),
        lmtp=LmtpSettings(listen=listen or [], socket_group=group),
        logs=LogSettings(file=str(folder / "var/log/postroom.jsonl")),
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_for_this_user_alone(tmp_path: Path) -> None:
    make_folders(make_settings(tmp_path))
    assert [mode(tmp_path / name) for name in ("var", "var/run", "var/log")] == [0o700] * 3


def test_the_way_to_a_socket_is_open_and_nothing_else(tmp_path: Path) -> None:
    make_folders(make_settings(tmp_path, [f"unix:{tmp_path}/var/run/lmtp.sock"]))
    assert [mode(tmp_path / name) for name in ("var", "var/run", "var/log")] == [0o711, 0o711, 0o700]


def test_the_way_of_a_group_is_open_to_it_alone(tmp_path: Path) -> None:
    group = grp.getgrgid(os.getgid())
    make_folders(make_settings(tmp_path, [f"unix:{tmp_path}/var/run/lmtp.sock"], group.gr_name))
    assert (mode(tmp_path / "var/run"), (tmp_path / "var/run").stat().st_gid) == (0o750, group.gr_gid)


def test_new_folders_elsewhere_are_opened_and_those_that_were_there_stay(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir(mode=0o700)
    make_folders(make_settings(tmp_path, [f"unix:{tmp_path}/old/new/lmtp.sock"]))
    assert (mode(tmp_path / "old"), mode(tmp_path / "old/new")) == (0o700, 0o711)


def test_files_in_an_opened_folder_are_closed_to_others(tmp_path: Path) -> None:
    settings = make_settings(tmp_path, [f"unix:{tmp_path}/var/run/lmtp.sock"])
    make_folders(settings)
    store = tmp_path / "var/lists.db"
    store.write_text("members")
    store.chmod(0o644)
    make_folders(settings)
    assert mode(store) == 0o640


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    with pytest.raises(Unusable, match=f"{tmp_path}/var: cannot be made"):
        make_folders(make_settings(tmp_path))


def test_the_key_is_made_once(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_folders(settings)
    make_key(settings)
    key = (tmp_path / "var/secret").read_bytes()
    make_key(settings)
    assert (len(key), mode(tmp_path / "var/secret")) == (32, 0o600)
    assert (tmp_path / "var/secret").read_bytes() == key
    assert sorted(os.listdir(tmp_path / "var")) == ["log", "run", "secret"]


def test_a_damaged_key_is_not_replaced_behind_anybodys_back(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_folders(settings)
    (tmp_path / "var/secret").write_bytes(b"short")
    with pytest.raises(Unusable, match="has 5 octets instead of 32"):
        make_key(settings)


def test_children_read_the_settings_that_master_has(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_folders(settings)
    file = write_settings(settings)
    assert (decode(file.read_bytes()), mode(file)) == (settings, 0o600)


def test_what_was_scaled_holds_until_the_configuration_changes(tmp_path: Path) -> None:
    settings = make_settings(tmp_path)
    make_folders(settings)
    assert read_scale(settings, {"incoming": 1}) == {}
    write_scale(settings, {"incoming": 1, "owner": 1}, {"incoming": 4})
    assert read_scale(settings, {"incoming": 1, "owner": 1}) == {"incoming": 4}
    assert read_scale(settings, {"incoming": 2, "owner": 1}) == {}
    (tmp_path / "var/run/scale.json").write_bytes(b"{")
    assert read_scale(settings, {"incoming": 1}) == {}


def test_settings_survive_the_way_to_a_child() -> None:
    settings = Settings(site=SiteSettings(name="ä.example"))
    assert decode(msgspec.json.encode(settings)) == settings
