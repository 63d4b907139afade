"""What the commands of bin/master do; main.py has read the command line.

0 done; 1 refused, or not running; 70 a bug of ours; 78 bad configuration. `status` exits 0 healthy, 1 degraded, 2 down.
"""

import argparse
import asyncio
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from config import logs
from config.certificates import BadCertificate, make_context
from config.load import ConfigError, find_config, load
from config.names import EX_CONFIG
from config.settings import Settings
from master import control, plan, state, status
from master.children import Kit
from master.control import MasterAway, MasterError
from master.link import Link
from master.lock import Held, Lock, terminate
from master.log_tail import LogTail
from master.sockets import BadListen, CannotListen, Listening, listen_all, listen_unix
from master.state import Unusable

EX_SOFTWARE = 70  # sysexits.h: an internal error
CHANGE_S = 600.0  # a restart or scale answers when it is done, at most this late
STOP_EXTRA_S = 15.0  # above the graces of all stages: kills, reaping, a slow disk


def run(arguments: argparse.Namespace, link: Link | None) -> int:
    """Do what a command line says, as main.py has read it; returns the exit code. `link` is for "start"."""
    try:
        settings = load(find_config(getattr(arguments, "config", None)))
        match arguments.command:
            case "start":
                return start(settings, link)
            case "stop":
                return stop(settings)
            case "restart":
                return _change(settings, {"do": "restart"})
            case "scale":
                return _change(settings, {"do": "scale", "what": arguments.what, "number": arguments.number})
            case _:
                return show(settings, as_json=arguments.json)
    except (ConfigError, BadListen, BadCertificate) as error:
        return _fail(str(error), EX_CONFIG)
    except (MasterError, CannotListen, Unusable) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130  # as a shell counts SIGINT


def start(settings: Settings, link: Link | None) -> int:
    """Run the site until it is told to stop."""
    if settings.lmtp.tls_cert:
        make_context(settings.lmtp)  # told now, and not by a front-end that ends again
    state.make_folders(settings)
    lock = Lock(settings)
    try:
        lock.take(_say)
        code = EX_SOFTWARE
        try:
            code = _run(settings, lock.fd, link)
        finally:
            lock.release(orderly=code != EX_SOFTWARE)
    except Held as error:
        holder = f"pid {error.pid}" if error.pid else "another process"
        return _fail(f"{settings.site.var}: a master runs on this state already ({holder})", 1)
    except OSError as error:
        return _fail(f"{error.filename or settings.site.var}: {error.strerror or error}", 1)
    return code


def _run(settings: Settings, lock_fd: int, link: Link | None) -> int:
    from master.nursery import Nursery
    from master.serve import serve  # brings ZeroMQ, which the other commands do without
    from master.supervisor import Supervisor

    state.make_key(settings)
    with ExitStack() as cleanup:
        commands = listen_unix(
            control.socket_path(settings), 0o600
        )  # first: two states may share RUN by mistake
        cleanup.callback(commands.close)
        listening = _listen(settings, cleanup)
        settings_file = state.write_settings(settings)
        life_fd, end = os.pipe2(os.O_CLOEXEC)  # `end` is master's alone: children read its end as ours
        cleanup.callback(os.close, life_fd)
        cleanup.callback(os.close, end)
        log = logs.set_up(settings, "master")
        tail = LogTail(Path(settings.logs.file) if settings.logs.file else None, settings.logs.format)
        tail.start()
        cleanup.callback(tail.finish)
        log.info("master.started", pid=os.getpid(), var=settings.site.var)
        for warning in status.warnings(settings):
            log.warning("master.warned", warning=warning)
        kit = Kit(settings_file, life_fd, lock_fd, tuple(each.socket.fileno() for each in listening))
        scaled = state.read_scale(settings, plan.configured(settings))
        supervisor = Supervisor(settings, Nursery(kit, link), scaled)
        try:
            asyncio.run(serve(supervisor, listening, commands.socket, tail))
        except Exception as error:
            logs.log_uncaught(log, error)
            return EX_SOFTWARE
        log.info("master.stopped")
    return 0


def _listen(settings: Settings, cleanup: ExitStack) -> list[Listening]:
    listening = listen_all(settings.lmtp)
    for each in listening:
        cleanup.callback(each.close)
    return listening


def stop(settings: Settings) -> int:
    """End a running master in order and wait until all of it is gone."""
    lock = Lock(settings)
    pid = lock.holder()
    if pid is None:
        return _fail("was not running", 1)
    try:
        control.call(settings, {"do": "stop"})
    except MasterAway:
        if pid:
            terminate(pid)
    graces = sum(
        max((place.grace_s for place in plan.places(settings, {}) if place.role == role), default=0.0)
        for role in plan.STOP_ORDER
    )
    if not lock.wait_until_free(graces + STOP_EXTRA_S):
        return _fail(f"pid {pid or '?'} or a child of it does not end", 1)
    return 0


def _change(settings: Settings, request: dict[str, Any]) -> int:
    try:
        control.call(settings, request, CHANGE_S)
    except MasterAway as error:
        return _fail(f"not running: {error}", 1)
    return 0


def show(settings: Settings, *, as_json: bool) -> int:
    """Print how the site is."""
    try:
        told = control.call(settings, {"do": "status"})
        del told["ok"]
    except MasterAway as error:
        told = status.DOWN
        if pid := Lock(settings).holder():
            _say(f"master (pid {pid}) does not answer: {error}")
    text = msgspec.json.format(msgspec.json.encode(told)).decode() if as_json else status.table(told)
    try:
        print(text, flush=True)
    except BrokenPipeError:  # `status | head -1`: whoever reads has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status.EXIT_CODES[told["state"]]


def _fail(text: str, code: int) -> int:
    _say(text)
    return code


def _say(text: str) -> None:
    print(f"postroom: {text}", file=sys.stderr, flush=True)
