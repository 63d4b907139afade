"""The lock on a site's state."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Settings, SiteSettings
from master import lock as lock_module
from master.lock import Held, Lock


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(site=SiteSettings(var=str(tmp_path)))


def take(settings: Settings, told: list[str] | None = None) -> Lock:
    lock = Lock(settings)
    lock.take((told if told is not None else []).append)
    return lock


def test_it_names_its_holder_and_an_orderly_end_leaves_nothing(settings: Settings) -> None:
    assert Lock(settings).holder() is None
    lock = take(settings)
    assert Lock(settings).holder() == os.getpid()
    with pytest.raises(Held) as held:
        take(settings)
    assert held.value.pid == os.getpid()
    assert not Lock(settings).wait_until_free(0.0)
    lock.release(orderly=True)
    assert Lock(settings).holder() is None
    assert lock.path.read_bytes() == b""


def test_it_is_held_while_a_child_of_its_holder_lives(settings: Settings) -> None:
    lock = take(settings)
    inherited = os.dup(lock.fd)
    lock.release(orderly=True)
    assert Lock(settings).holder() == 0
    os.close(inherited)
    assert Lock(settings).holder() is None


@pytest.mark.slow
def test_a_child_that_does_not_end_is_killed_after_its_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its master is dead, and it does not even see that: stopped, or in a loop that holds the interpreter."""
    monkeypatch.setattr(lock_module, "ORPHANS_S", 1.5)
    program = (
        "import subprocess, sys; from config.settings import *; from master.lock import Lock\n"
        "lock = Lock(Settings(site=SiteSettings(var=sys.argv[1]))); lock.take(print)\n"
        "code = 'import time; time.sleep(60)'\n"
        "print(subprocess.Popen([sys.executable, '-c', code, '--lock-fd'], pass_fds=[lock.fd], stdout=2).pid)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, settings.site.var], stdout=subprocess.PIPE, text=True, check=True
    )
    orphan, told = int(done.stdout), list[str]()
    lock = take(settings, told)
    lock.release(orderly=True)
    assert len(told) == 1
    assert not lock_module._is_alive(orphan)
