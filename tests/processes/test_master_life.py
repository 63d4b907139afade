"""A site under bin/master: start, stop, what it refuses, and that nothing outlives it."""

import json
import os
import signal
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from master.plan import BUILT_IN_RUNNERS
from tests.support.site import MASTER, ROOT, Site, free_port
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

KEYS = {"name", "role", "queue", "pid", "state", "restarts", "uptime_s", "rss"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "site")
    yield made
    made.end()


def test_a_site_starts_is_healthy_and_stops_within_seconds(site: Site) -> None:
    site.start()
    status = site.status()
    names = [each["name"] for each in status["processes"]]
    assert names[:3] == ["master", "bus", "lmtp-1"]
    assert sorted(names[3:]) == sorted(f"{queue}-1" for queue in BUILT_IN_RUNNERS)
    assert all(set(each) == KEYS for each in status["processes"])
    assert {each["state"] for each in status["processes"]} == {"ready"}
    assert len(status["queues"]) == 7
    assert site.master("status").returncode == 0
    assert site.unix is not None
    assert stat.S_IMODE(site.unix.stat().st_mode) == 0o666

    assert site.process is not None
    process, pids = site.process, site.processes()
    assert len(pids) == 3 + len(BUILT_IN_RUNNERS)
    done = site.stop()
    assert (done.returncode, done.stderr, process.returncode) == (0, "", 0)
    assert site.processes() == []
    assert not site.unix.exists()
    assert site.log("master.ready")
    assert "postroom: ready" in site.output()
    # Front-ends first, the bus last.
    order = [line["child"].partition("-")[0] for line in site.log("child.exited")]
    assert (order[0], order[-1]) == ("lmtp", "bus")
    assert all(line["code"] == 0 for line in site.log("child.exited"))


def test_without_a_master_everything_says_so(site: Site) -> None:
    told = site.master("status", "--json")
    assert (told.returncode, site.status()) == (2, {"state": "down", "processes": [], "queues": []})
    for command in (["stop"], ["restart"], ["scale", "incoming", "2"]):
        done = site.master(*command)
        assert done.returncode == 1
        assert "not running" in done.stderr


def test_a_terminated_master_exits_0_and_leaves_nobody(site: Site) -> None:
    site.start()
    assert site.process is not None
    site.process.terminate()
    assert site.process.wait(30) == 0
    assert site.processes() == []


def test_a_second_master_on_the_same_state_is_refused_and_names_the_first(site: Site) -> None:
    site.start()
    assert site.process is not None
    second = site.master("start")
    assert second.returncode == 1
    assert f"pid {site.process.pid}" in second.stderr
    assert site.status()["state"] == "healthy"


def test_a_port_in_use_is_named(site: Site, tmp_path: Path) -> None:
    site.start()
    other = Site(tmp_path / "other", f'[lmtp]\nlisten = ["127.0.0.1:{site.port}"]\n')
    done = other.master("start")
    other.end()
    assert done.returncode == 1
    assert f"127.0.0.1:{site.port}: in use" in done.stderr


def test_a_live_unix_socket_is_in_use_and_is_not_stolen(site: Site, tmp_path: Path) -> None:
    site.start()
    other = Site(tmp_path / "other", f'[lmtp]\nlisten = ["unix:{site.unix}"]\n')
    done = other.master("start")
    other.end()
    assert done.returncode == 1
    assert f"unix:{site.unix}: in use" in done.stderr
    assert site.unix is not None
    assert site.unix.exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    site = Site(tmp_path / "site", f'[site]\nvar = "{tmp_path}/file/var"\n')
    done = site.master("start")
    site.end()
    assert done.returncode == 1
    assert f"{tmp_path}/file/var" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root gives a folder away, and becomes somebody else")
def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", f'[lmtp]\nlisten = ["127.0.0.1:{free_port()}"]\n')
    program = "import os, sys, master.commands; from master.main import main; os.setgid(65534); os.setuid(65534); sys.exit(main(sys.argv[1:]))"
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    site.folder.chmod(0o755)
    (site.folder / "var").mkdir(mode=0o755)
    done = subprocess.run(
        [ROOT / ".venv/bin/python", "-c", program, "start", "--config", site.config],
        capture_output=True, text=True, timeout=30, check=False, cwd="/",
    )  # fmt: skip
    site.end()
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert f"{site.folder}/var: not writable" in done.stderr


def test_bad_configuration_exits_78_with_one_line(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", "[lmtp]\nprocesses = 99\n")
    done = site.master("start")
    site.end()
    assert (done.returncode, done.stderr.count("\n")) == (78, 1)
    assert "processes" in done.stderr


def test_an_unknown_group_exits_78(tmp_path: Path) -> None:
    site = Site(tmp_path / "site", '[lmtp]\nsocket_group = "nosuchgroup"\n')
    done = site.master("start")
    site.end()
    assert (done.returncode, "no group 'nosuchgroup'" in done.stderr) == (78, True)


def test_wrong_use_exits_2(site: Site) -> None:
    assert site.master("nosuch").returncode == 2
    assert site.master("scale", "incoming", "many").returncode == 2


def test_no_child_outlives_a_killed_master_and_a_new_one_starts_clean(site: Site) -> None:
    site.start()
    before = set(site.processes())
    site.kill("master")
    assert site.process is not None
    assert site.process.wait(5) == -signal.SIGKILL
    wait_until(
        lambda: not set(site.processes()) & before, 10, what="all children of the killed master are gone"
    )
    site.start()
    assert site.stop().returncode == 0


def test_a_new_master_waits_for_the_children_of_a_killed_one(site: Site) -> None:
    site.start()
    site.kill("master")
    site.start()  # at once
    assert site.status()["state"] == "healthy"
    assert len(site.processes()) == 3 + len(BUILT_IN_RUNNERS)


def test_stop_ends_a_master_that_does_not_answer(site: Site) -> None:
    """Its control socket is gone; the pid in the lock file is the holder's for sure, since the lock is held."""
    site.start()
    (site.run / "master.sock").unlink()
    assert site.stop().returncode == 0
    assert site.processes() == []


def test_a_second_signal_kills_what_does_not_end(site: Site) -> None:
    site.start()
    assert site.process is not None
    site.kill("lmtp-1", signal.SIGSTOP)
    site.process.terminate()
    wait_until(lambda: site.log("master.stopping"))
    site.process.terminate()
    assert site.process.wait(10) == 0
    assert site.processes() == []


def test_stop_behind_a_signal_hurries_nobody(site: Site) -> None:
    site.start()
    assert site.process is not None
    site.kill("outgoing-1", signal.SIGSTOP)  # holds the drain up
    site.process.terminate()
    wait_until(lambda: site.log("master.stopping"))
    stopping = threading.Thread(target=site.master, args=("stop",))
    stopping.start()
    wait_until(lambda: [each for each in site.log("child.exited") if each["child"] == "owner-1"])
    site.kill("outgoing-1", signal.SIGCONT)
    stopping.join(30)
    assert not stopping.is_alive()
    assert [each["child"] for each in site.log("child.exited") if each.get("signal")] == []


def test_runners_are_nicer_than_those_who_accept_mail(site: Site) -> None:
    site.start()
    nice = {each["name"]: os.getpriority(os.PRIO_PROCESS, each["pid"]) for each in site.status()["processes"]}
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert nice["lmtp-1"] == nice["bus"] == own
    assert nice["incoming-1"] == min(19, own + 5)


def test_nobody_else_may_read_the_state(site: Site) -> None:
    site.start()
    readable = [
        str(path)
        for path in site.var.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o007
    ]
    assert readable == []


def test_a_hangup_changes_nothing(site: Site) -> None:
    site.start()
    site.kill("master", signal.SIGHUP)
    wait_until(lambda: site.log("master.hangup"))
    assert site.status()["state"] == "healthy"


def test_the_scripts_need_neither_folder_nor_environment(site: Site, tmp_path: Path) -> None:
    """By a symbolic link, from elsewhere, with nothing in the environment but PATH."""
    link = tmp_path / "link"
    link.symlink_to(MASTER)
    done = subprocess.run(
        [link, "status", "--json", "--config", site.config],
        capture_output=True, text=True, timeout=30, cwd="/", env={"PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "")


def test_the_configuration_may_stand_before_or_behind_the_command(site: Site) -> None:
    site.start()
    config = str(site.config)
    for arguments in (["--config", config, "status", "--json"], ["status", "--json", "--config", config]):
        done = subprocess.run(
            [MASTER, *arguments], capture_output=True, text=True, timeout=30, cwd="/", check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["state"] == "healthy"
    refused = subprocess.run(
        [MASTER, "--config", "/nowhere.toml", "status"], capture_output=True, timeout=30, cwd="/", check=False
    )
    assert refused.returncode == 78


def test_status_into_a_pipe_that_is_closed_keeps_its_exit_code(site: Site) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [MASTER, "status", "--config", site.config],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"")


def test_without_an_environment_the_scripts_say_make_setup(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/master").write_bytes(MASTER.read_bytes())
    (tmp_path / "bin/master").chmod(0o755)
    done = subprocess.run(
        [tmp_path / "bin/master", "status"],
        capture_output=True, text=True, timeout=30, cwd="/", env={"PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    assert (done.returncode, "make setup" in done.stderr) == (1, True)


def test_runners_keep_off_one_cpu_and_the_setting_gives_it_back(tmp_path: Path) -> None:
    with Site(tmp_path / "site", "[runners.outgoing]\nspare_cpu = false\n") as site:
        cpus = {each["name"]: os.sched_getaffinity(each["pid"]) for each in site.status()["processes"]}
    all_of_them = os.sched_getaffinity(0)
    assert cpus["lmtp-1"] == cpus["bus"] == cpus["outgoing-1"] == all_of_them
    spared = {min(all_of_them)} if len(all_of_them) > 1 else set()
    assert cpus["incoming-1"] == cpus["owner-1"] == all_of_them - spared
