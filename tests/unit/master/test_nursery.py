"""Where children come from: a real forker, real children, and what is done without one."""

import asyncio
import ctypes
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from master import nursery as nursery_module
from master.children import Kit, Process, reap_strays
from master.forker import Order, decode_born, encode_order
from master.link import MODULES, PR_SET_CHILD_SUBREAPER, Link
from master.nursery import Nursery
from master.plan import Place, places
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
PROGRAM, THREAD = "tests.support.forked_program", "tests.support.forked_thread"


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs of the tests can be imported; the test process is nobody's sub-reaper afterwards."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


class Family:
    """A nursery on a running loop, and what came out of it."""

    def __init__(self, folder: Path) -> None:
        self.report = folder / "report"
        self._life, self._end = os.pipe()
        lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        self.link = Link.start()
        assert self.link is not None
        self.nursery = Nursery(Kit(self.report, self._life, lock), self.link)

    async def spawn(self, name: str, module: str = PROGRAM, nice: int = 0) -> Process | OSError:
        """Wait for the process."""
        born: asyncio.Future[Process | OSError] = asyncio.get_running_loop().create_future()
        self.nursery.spawn(Place(name, "bus", module, nice=nice), born.set_result)
        async with asyncio.timeout(30):
            return await born

    async def run(self, name: str, module: str = PROGRAM, nice: int = 0) -> tuple[int, list[int]]:
        """Wait for its end; returns the exit code and what it wrote."""
        process = await self.spawn(name, module, nice)
        assert isinstance(process, Process)
        code = await asyncio.to_thread(wait_until, partial(_exit_code, process))
        process.close()
        return code[0], [int(each) for each in self.report.read_text().split()]


def _exit_code(process: Process) -> tuple[int] | None:
    code = process.reap()
    return None if code is None else (code,)


def with_family(folder: Path, story: Callable[[Family], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        family = Family(folder)
        with family.nursery:
            await story(family)
        assert family.link is not None
        assert family.link.popen.returncode is not None

    asyncio.run(tell())


def test_a_forked_child_is_masters_own_in_a_group_of_its_own_and_nice(tmp_path: Path) -> None:
    async def story(family: Family) -> None:
        forker = family.nursery.pid
        code, (pid, parent, group, nice, threads) = await family.run("7", nice=3)
        assert (code, parent, group, threads) == (7, os.getpid(), pid, 1)
        assert nice == min(19, os.nice(0) + 3)
        assert family.nursery.pid == forker

    with_family(tmp_path, story)


def test_what_is_ordered_at_once_comes_in_this_order(tmp_path: Path) -> None:
    async def story(family: Family) -> None:
        born = await asyncio.gather(*(family.spawn(str(number)) for number in range(5)))
        for number, process in enumerate(born):
            assert isinstance(process, Process)
            assert process.instance.startswith(f"{number}:")
            code = await asyncio.to_thread(wait_until, partial(_exit_code, process))
            assert code == (number,)
            assert process.read_notices() == ([True], False)
            process.close()

    with_family(tmp_path, story)


def test_a_child_that_is_not_told_to_go_ends_unseen(tmp_path: Path) -> None:
    """Master gave up waiting for the answer: what is in its place meanwhile must not have a twin."""
    link = Link.start()
    assert link is not None
    link.socket.setblocking(True)
    report, (go_read, go_write) = tmp_path / "report", os.pipe()
    order = Order(PROGRAM, ["--settings", str(report), "--name", "0"], [], 0)
    socket.send_fds(link.socket, [encode_order(order)], [go_read])
    answers = iter(partial(link.socket.recv, 1000), b"")
    born = decode_born(next(data for data in answers if data.startswith(b"{")))
    pidfd = os.pidfd_open(born.pid)
    os.close(go_read)
    os.close(go_write)
    assert os.waitid(os.P_PIDFD, pidfd, os.WEXITED).si_status == 0  # type: ignore[union-attr]
    os.close(pidfd)
    link.close()
    assert not report.exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["dead", "silent"])
def test_without_a_forker_that_answers_a_child_is_started_by_exec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    monkeypatch.setattr(nursery_module, "COLD_S", 0.5)
    monkeypatch.setattr(nursery_module, "WARM_S", 0.5)

    async def story(family: Family) -> None:
        assert family.nursery.pid is not None
        os.kill(family.nursery.pid, number)
        code, (_, parent, *_) = await family.run("5")
        assert (code, parent) == (5, os.getpid())
        assert family.nursery.pid is None
        monkeypatch.setattr(nursery_module, "COLD_S", 30.0)
        await family.nursery.renew()
        assert family.nursery.pid is not None
        assert (await family.run("6"))[0] == 6

    with_family(tmp_path, story)


def test_a_forker_that_ended_is_replaced_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nursery_module, "AGAIN_S", 0.1)

    async def story(family: Family) -> None:
        before = family.nursery.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: family.nursery.pid not in (None, before))

    with_family(tmp_path, story)


def test_beside_a_thread_nothing_is_forked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async def story(family: Family) -> None:
        code, (*_, threads) = await family.run("4", THREAD)
        assert (code, threads) == (4, 2)
        assert family.nursery.pid is None

    with_family(tmp_path, story)
    assert "has started a thread" in capfd.readouterr().err


def test_a_program_that_cannot_be_imported_says_so_itself(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async def story(family: Family) -> None:
        process = await family.spawn("0", "tests.support.nosuch")
        assert isinstance(process, Process)
        assert await asyncio.to_thread(wait_until, partial(_exit_code, process)) == (1,)
        process.close()

    with_family(tmp_path, story)
    assert "nosuch" in capfd.readouterr().err


def test_at_the_end_what_is_not_born_is_left(tmp_path: Path) -> None:
    async def story(family: Family) -> None:
        assert family.nursery.pid is not None
        os.kill(family.nursery.pid, signal.SIGSTOP)
        family.nursery.spawn(Place("0", "bus", PROGRAM), lambda _: pytest.fail("nobody waits for it"))

    with_family(tmp_path, story)
    assert not (tmp_path / "report").exists()


def loaded_by_a_forker() -> tuple[str, set[str]]:
    """How many threads it has after all its imports, and the modules."""
    program = (
        "import os, sys; from master.forker import load; [load(name) for name in sys.argv[1:]]; "
        "print(len(os.listdir('/proc/self/task')), *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *MODULES], capture_output=True, text=True, check=True, cwd=ROOT
    )
    threads, *modules = done.stdout.split()
    return threads, set(modules)


def test_a_forker_has_what_every_place_needs_and_no_thread() -> None:
    """Else its children would be started by exec, or import again what could be shared."""
    assert {place.module for place in places(Settings(), {})} <= set(MODULES)
    threads, modules = loaded_by_a_forker()
    assert threads == "1"
    assert set(MODULES) | {"uvloop"} <= modules


def test_a_forked_process_imports_nothing_of_ours_later() -> None:
    """Or one that is replaced in the middle of an upgrade would be of two versions. What is left is for commands, and migrations."""
    packages = ("config", "lists", "bus", "lmtp", "runners")
    files = [file.relative_to(ROOT) for each in packages for file in (ROOT / each).rglob("*.py")]
    names = {".".join(file.with_suffix("").parts).removesuffix(".__init__") for file in files}
    late = {name for name in names - loaded_by_a_forker()[1] if ".migrations." not in name}
    assert late == {"config.lines", "config.load", "config.sample", "runners.text_check"}


def test_strays_are_reaped_and_ours_are_left() -> None:
    """A grandchild whose parent ended falls to the sub-reaper; whoever is waited for elsewhere stays."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    ours = subprocess.Popen([sys.executable, "-c", "raise SystemExit(9)"])
    os.waitid(os.P_PID, ours.pid, os.WEXITED | os.WNOWAIT)
    reap_strays({ours.pid})
    assert ours.wait() == 9
    done = subprocess.run(["sh", "-c", "true & echo $!"], capture_output=True, text=True, check=True)
    stray = int(done.stdout)

    def is_gone() -> bool:
        reap_strays(set())
        return not Path(f"/proc/{stray}").exists()

    wait_until(is_gone)
