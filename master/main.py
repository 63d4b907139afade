"""bin/master: starts a site, and tells a running one what to do.

0 done; 1 refused, or not running; 2 wrong use; 70 a bug of ours; 78 bad configuration. `status` exits 0 healthy, 1 degraded, 2 down.
"""

import argparse
import asyncio
import os
import resource
import sys
from collections.abc import Sequence
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
from master.lock import Held, Lock, terminate
from master.log_tail import LogTail
from master.sockets import BadListen, CannotListen, Listening, listen_all, listen_unix
from master.state import Unusable

EX_SOFTWARE = 70  # sysexits.h: an internal error
MAX_FILES = 65536  # descriptors of one process
CHANGE_S = 600.0  # a restart or scale answers when it is done, at most this late
STOP_EXTRA_S = 15.0  # above the graces of all stages: kills, reaping, a slow disk


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        settings = load(find_config(getattr(arguments, "config", None)))
        code: int = arguments.run(settings, arguments)
    except (ConfigError, BadListen, BadCertificate) as error:
        return _fail(str(error), EX_CONFIG)
    except (MasterError, CannotListen, Unusable) as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return 130  # as a shell counts SIGINT
    return code


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="configuration file (default: POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml)",
    )
    parser = argparse.ArgumentParser(
        prog="master", description="Start a site, and tell a running one what to do.", parents=[shared]
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, run: Any, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text, parents=[shared])
        made.set_defaults(run=run)
        return made

    add("start", start, "Run the site in the foreground until SIGTERM or Ctrl-C.")
    add("stop", stop, "End a running site in order; returns when it is gone.")
    add(
        "restart",
        restart,
        "Replace every process but master, with the port open; returns when all are ready.",
    )
    told = add("status", show, "Show processes and queues; exits 0 healthy, 1 degraded, 2 down.")
    told.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    scaled = add("scale", scale, "Change the number of processes while the site runs.")
    scaled.add_argument("what", metavar="QUEUE|lmtp")
    scaled.add_argument("number", metavar="N", type=int)
    return parser


def start(settings: Settings, _: argparse.Namespace) -> int:
    """Run the site until it is told to stop."""
    os.umask(0o077)  # mail and keys are this user's; what others may use gets its mode on purpose
    _raise_limits()
    if settings.lmtp.tls_cert:
        make_context(settings.lmtp)  # told now, and not by a front-end that ends again
    state.make_folders(settings)
    lock = Lock(settings)
    try:
        lock.take(_say)
        code = EX_SOFTWARE
        try:
            code = _run(settings, lock.fd)
        finally:
            lock.release(orderly=code != EX_SOFTWARE)
    except Held as error:
        holder = f"pid {error.pid}" if error.pid else "another process"
        return _fail(f"{settings.site.var}: a master runs on this state already ({holder})", 1)
    except OSError as error:
        return _fail(f"{error.filename or settings.site.var}: {error.strerror or error}", 1)
    return code


def _raise_limits() -> None:
    """Let every process have as many descriptors as it may: a front-end needs one a connection, and 1024 is the usual start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(settings: Settings, lock_fd: int) -> int:
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
        supervisor = Supervisor(settings, kit, state.read_scale(settings, plan.configured(settings)))
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


def stop(settings: Settings, _: argparse.Namespace) -> int:
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


def restart(settings: Settings, _: argparse.Namespace) -> int:
    """Replace every child of a running master."""
    return _change(settings, {"do": "restart"})


def scale(settings: Settings, arguments: argparse.Namespace) -> int:
    """Change the number of processes of a queue, or of the front-end."""
    return _change(settings, {"do": "scale", "what": arguments.what, "number": arguments.number})


def _change(settings: Settings, request: dict[str, Any]) -> int:
    try:
        control.call(settings, request, CHANGE_S)
    except MasterAway as error:
        return _fail(f"not running: {error}", 1)
    return 0


def show(settings: Settings, arguments: argparse.Namespace) -> int:
    """Print how the site is."""
    try:
        told = control.call(settings, {"do": "status"})
        del told["ok"]
    except MasterAway as error:
        told = status.DOWN
        if pid := Lock(settings).holder():
            _say(f"master (pid {pid}) does not answer: {error}")
    text = msgspec.json.format(msgspec.json.encode(told)).decode() if arguments.json else status.table(told)
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


if __name__ == "__main__":
    sys.exit(main())
