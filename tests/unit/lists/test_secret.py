"""The site key is made once, whole, and for our user alone."""

import os
import stat
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from config.settings import Settings, SiteSettings
from lists.errors import BadSecret
from lists.secret import load_site_key


def site(var: Path) -> Settings:
    return Settings(site=SiteSettings(var=str(var)))


def load(var: Path) -> bytes:
    return load_site_key(site(var)).secret


def test_the_first_makes_it_and_the_next_reads_it(tmp_path: Path) -> None:
    made = load_site_key(site(tmp_path))
    file = tmp_path / "secret"
    assert len(made.secret) == 32
    assert load_site_key(site(tmp_path)) == made
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == made.secret
    assert [each.name for each in tmp_path.iterdir()] == ["secret"]


def test_the_umask_opens_nothing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        load_site_key(site(tmp_path))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600


@pytest.mark.slow
def test_processes_that_start_together_have_one_key(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for number in range(20):
            var = tmp_path / str(number)
            var.mkdir()
            assert len(set(pool.map(load, [var] * 8))) == 1
            assert [each.name for each in var.iterdir()] == ["secret"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_site_key(site(tmp_path))
    (tmp_path / "secret").chmod(mode)
    with pytest.raises(BadSecret, match="chmod 600"):
        load_site_key(site(tmp_path))


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_what_is_no_key_is_refused_and_kept(tmp_path: Path, size: int) -> None:
    """A key that was damaged is a person's matter: a new one would void every token without a word."""
    file = tmp_path / "secret"
    file.write_bytes(b"x" * size)
    file.chmod(0o600)
    with pytest.raises(BadSecret, match=f"has {size} octets instead of 32"):
        load_site_key(site(tmp_path))
    assert file.read_bytes() == b"x" * size


def test_without_a_folder_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadSecret, match="cannot be made"):
        load_site_key(site(tmp_path / "missing"))
