"""The status object and its table."""

import os
from pathlib import Path

from config.names import BUILT_IN_QUEUES
from config.settings import RunnerSettings, Settings, SiteSettings
from master.children import Kit
from master.nursery import Nursery
from master.status import DOWN, describe, read_rss, spell_duration, table
from master.supervisor import Supervisor

KEYS = {"name", "role", "queue", "pid", "state", "restarts", "uptime_s", "rss"}


def make_supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings, Nursery(Kit(Path(os.devnull), life_fd=-1, lock_fd=-1)), {})


def test_every_queue_is_listed_while_the_bus_is_away() -> None:
    told = describe(make_supervisor(Settings(runners={"archive": RunnerSettings()})), None, "ready", 0.0)
    assert told["state"] == "degraded"
    assert [row["queue"] for row in told["queues"]] == [*BUILT_IN_QUEUES, "archive"]
    assert {"queue", "ready", "leased", "deferred", "shunted", "oldest_age_s", "done"} <= set(
        told["queues"][0]
    )


def test_master_is_one_of_the_processes() -> None:
    (master,) = describe(make_supervisor(Settings()), None, "ready", 0.0)["processes"]
    assert set(master) == KEYS
    assert (master["role"], master["pid"], master["queue"]) == ("master", os.getpid(), None)
    assert master["rss"] > 2**20


def test_what_the_bus_says_of_a_queue_is_passed_on() -> None:
    row = {
        "queue": "incoming",
        "ready": 3,
        "leased": 1,
        "deferred": 0,
        "shunted": 2,
        "oldest_age_s": 9.0,
        "done": 7,
    }
    told = describe(make_supervisor(Settings()), {"queues": [row], "flow": {"state": "ok"}}, "ready", 0.0)
    assert told["queues"][0] == row
    assert "incoming" in table(told)


def test_a_site_without_an_owner_is_told_who_reads_postmaster() -> None:
    """RFC 5321 4.5.1: the mail is taken; somebody must read it."""
    told = describe(make_supervisor(Settings()), None, "ready", 0.0)
    assert "postmaster@, abuse@, postroom@" in told["warnings"][0]
    assert told["warnings"][0] in table(told)
    owned = Settings(site=SiteSettings(owner="anne@example.net"))
    assert describe(make_supervisor(owned), None, "ready", 0.0)["warnings"] == []


def test_no_master_is_down_and_fits_the_table() -> None:
    assert DOWN == {"state": "down", "processes": [], "queues": []}
    assert table(DOWN) == "postroom is down"


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert read_rss(2**22 + 1) == 0


def test_durations_are_short() -> None:
    assert [spell_duration(each) for each in (0, 59, 90, 5400, 90000)] == [
        "0s",
        "59s",
        "1.5min",
        "1.5h",
        "1.0d",
    ]
