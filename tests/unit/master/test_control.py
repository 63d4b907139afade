"""The control socket, over a real one."""

import asyncio
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from config.settings import Settings, SiteSettings
from master import control
from master.control import MasterAway, MasterError
from master.sockets import listen_unix


async def handle(request: Mapping[str, Any]) -> dict[str, Any]:
    if request.get("do") == "refuse":
        raise MasterError("no")
    if request.get("do") == "hang":
        await asyncio.sleep(60)
    return {"heard": dict(request)}


@pytest.fixture
def settings() -> Iterator[Settings]:
    with TemporaryDirectory(prefix="pr-", dir="/tmp") as folder:
        yield Settings(site=SiteSettings(run=folder))


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve from a thread with a loop of its own, as master is another process."""
    listening = listen_unix(control.socket_path(settings), 0o600)
    started, ended = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with control.serve(listening.socket, handle):
            started.set()
            await ended.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(5)
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(ended.set)
        thread.join(5)
        listening.close()


def test_an_answer_is_what_the_handler_returned(settings: Settings) -> None:
    with serving(settings):
        request = {"do": "scale", "what": "incoming", "number": 2}
        assert control.call(settings, request) == {"ok": True, "heard": request}


def test_a_refusal_carries_its_reason(settings: Settings) -> None:
    with serving(settings), pytest.raises(MasterError, match=r"^no$"):
        control.call(settings, {"do": "refuse"})


def test_no_master_is_away(settings: Settings) -> None:
    with pytest.raises(MasterAway, match="no answer on"):
        control.call(settings, {"do": "status"})


def test_a_master_that_does_not_answer_is_away(settings: Settings) -> None:
    with serving(settings), pytest.raises(MasterAway):
        control.call(settings, {"do": "hang"}, timeout_s=0.1)


def test_garbage_is_refused_and_does_no_harm(settings: Settings) -> None:
    with serving(settings), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(control.socket_path(settings)))
        with client.makefile("rwb") as lines:
            for garbage in (b"\xff\x00\n", b"[]\n", b"{\n"):
                lines.write(garbage)
                lines.flush()
                assert b'"ok":false' in lines.readline()
        assert control.call(settings, {"do": "x"})["ok"]


def test_an_endless_line_ends_that_connection_alone(settings: Settings) -> None:
    with serving(settings), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(control.socket_path(settings)))
        with pytest.raises(ConnectionError):
            client.sendall(b"x" * 2**23)
        assert control.call(settings, {"do": "x"})["ok"]


def test_the_socket_is_for_this_user_alone(settings: Settings) -> None:
    with serving(settings):
        assert Path(settings.site.run, "master.sock").stat().st_mode & 0o777 == 0o600
