"""One JSON line for each thing that happened, from every process, in one file.

Every event is registered in EVENTS; a test holds the code against it. Lines go to `[logs] file`, each by one append; master prints the
file's growth. Without a file they go to stdout. The standard library's logging and warnings come out as the same lines.
Keys are always item_id, root_id, list_id, recipient, reverse_path, message_id, queue, attempt, reply, duration_ms. Never content; never
a confirmation token. Rotation is somebody else's job: a file renamed is noticed and made anew within a second.
"""

import asyncio
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import structlog

from config.clock import Clock
from config.settings import Settings

EVENTS: dict[str, str] = {
    # every process
    "process.started": "came up; says its pid and settings that matter",
    "process.ready": "does its work from now on",
    "process.stopping": "was asked to end: takes no more, finishes what is in hand",
    "process.stopped": "ended in order",
    "process.failed": "ends because of an error that nothing else caught",
    "library.said": "a line that a library logged or warned",
    # lmtp
    "lmtp.listening": "takes connections on these sockets",
    "lmtp.accepted": "a message was made durable and answered 250, one line a recipient",
    "lmtp.refused": "a sender, recipient or message was answered 4xx or 5xx",
    "lmtp.dropped": "a connection ended before its reply could be given",
    "lmtp.failed": "an error of ours, answered 451",
    "tls.secured": "a connection goes on in TLS",
    "tls.failed": "a handshake failed, or TLS broke; the connection was closed",
    "tls.renewed": "changed certificate files were read",
    "tls.unread": "changed certificate files cannot be used; those read before stay",
    "snapshot.loaded": "lists as RCPT sees them were read again",
    "snapshot.failed": "the list store could not be read; the last snapshot stays, refusals become 451",
    # bus
    "bus.recovered": "the journal was opened and its items counted",
    "bus.connected": "a process said hello",
    "bus.lost": "a process was not heard of for three beats",
    "bus.problem": "a message on a socket could not be understood",
    "flow.changed": "new mail is refused, or taken again",
    "journal.full": "no space for new mail; settlements go on",
    "journal.resumed": "there is space again",
    "journal.failed": "the disk failed; the bus ends and starts anew",
    "journal.slow": "a commit took longer than a second",
    "books.wrong": "the counters of a queue do not balance: a bug",
    "item.suppressed": "the same mail was here already and its sender never saw our reply",
    "item.leased": "was given to a runner (debug)",
    "item.retried": "will be given again later",
    "item.shunted": "was set aside for a person",
    "item.released": "a person put it back into its queue",
    "item.dropped": "a person threw it away",
    "lease.revoked": "the process that had it is gone",
    "queue.paused": "by a person",
    "queue.resumed": "by a person",
    # runners
    "item.handled": "a handler ended: outcome, outputs, reason",
    "item.failed": "a handler raised",
    "post.accepted": "goes out to the members",
    "post.held": "waits for a moderator",
    "post.rejected": "refused by a rule",
    "post.discarded": "thrown away by a rule",
    "post.released": "a moderator acted on a held post",
    "bounce.scored": "permanent failures of members counted, or why not",
    "bounce.ignored": "no bounce, or of nobody whom it could count for",
    "bounce.stepped": "probed, disabled, warned, removed, enabled",
    "member.requested": "a request to join or leave, or a token of one: what came of it",
    "member.changed": "something of a member was changed by mail",
    "member.ignored": "mail to join, leave or confirm that asks for nothing, and why",
    "request.taken": "one command by mail was done, answered or not understood",
    "timer.published": "what was due became items",
    "timer.dropped": "what was due is about a list that was removed meanwhile",
    "timer.delayed": "what is due could not be looked for; tried again",
    "owner.ignored": "mail to the owners that a program wrote, or that a rule drops, and why; bounces go where they are read",
    "owner.forwarded": "went to the owners",
    "notice.written": "mail of our own passed the gate: kind, recipient",
    "notice.denied": "mail of our own did not pass the gate, and why",
    "template.skipped": "a text of the site's own cannot be used; the next one is",
    "outgoing.sent": "one SMTP transaction: the reply of each recipient",
    "outgoing.delivered": "written into maildirs",
    "outgoing.unanswered": "no reply to the final dot: these recipients may have it, and get it again",
    "outgoing.repeated": "begun before and never noted: these recipients may get a second copy",
    "outgoing.away": "the MTA cannot be reached",
    "store.trimmed": "outcomes of items that are long gone were forgotten",
    "store.untrimmed": "they could not be; tried again in an hour",
    # master
    "child.started": "a process was spawned",
    "child.ready": "a process does its work",
    "child.exited": "a process ended",
    "child.stuck": "silent for three beats: stack dump, then SIGKILL",
    "child.delayed": "will be started again later, since it ended before it was ready",
    "child.failed": "will not be started again until a reload: its configuration is bad",
    "forker.failed": "cannot be used; children are started by exec until another is tried",
    "master.started": "owns this state folder",
    "master.warned": "something is in order for us, but not for mail; `master status` tells it too",
    "master.ready": "every process does its work",
    "master.scaled": "the number of processes was changed",
    "master.restarting": "replaces every process",
    "master.hangup": "SIGHUP came; nothing is reloaded in this version",
    "master.stopping": "drains in reverse order",
    "master.stopped": "everything ended",
}

_TOKEN = re.compile(r"\+[a-z2-7]{24}(?=@)", re.IGNORECASE)  # whoever has it can confirm
REOPEN_S = 1.0  # how often it is asked whether the file was renamed
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


_about: ContextVar[Mapping[str, object]] = ContextVar("about", default=MappingProxyType({}))


def speak_about(facts: Mapping[str, object]) -> None:
    """Have every line of this task, and of what it begins, say these facts too; those said before are forgotten."""
    _about.set(facts)


class UnknownEvent(Exception):
    """A name that is not in EVENTS was logged; raised only under tests (`strict`)."""


class LineFile:
    """Appends whole lines to a file; a full disk loses lines, never half of one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._fd = 1
        self._checked = float("-inf")
        self._torn = False
        self._held: list[bytes] | None = None  # lines that leave together
        self._holder = 0  # the thread whose lines those are
        self._soon: Callable[[Callable[[], None]], object] | None = None

    def write(self, line: bytes) -> None:
        """Append one line, or hold it for a moment; `line` has no newline."""
        if self._holder != threading.get_ident():
            self._append(line)
        elif self._held is not None:
            self._held.append(line)
        elif self._soon is not None:
            self._held = [line]
            self._soon(self._let_go)
        else:
            self._append(line)

    def write_now(self, line: bytes) -> None:
        """Append one line, behind those that are held: what is amiss may be the last that is said."""
        if self._holder == threading.get_ident():
            self._let_go()
        self._append(line)

    def _append(self, line: bytes) -> None:
        if self._path is not None and time.monotonic() - self._checked >= REOPEN_S:
            self._reopen(self._path)
        data = (b"\n" if self._torn else b"") + line + b"\n"
        try:
            written = os.write(self._fd, data)
        except OSError:  # a full disk or a closed terminal must not stop the mail
            return
        self._torn = written < len(data)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Let the lines that are written within leave in one append, at its end, however it ends."""
        if self._held is not None:
            yield  # the one around us writes
            return
        self._held, self._holder = [], threading.get_ident()
        try:
            yield
        finally:
            self._let_go()

    @contextmanager
    def in_turns(self, soon: Callable[[Callable[[], None]], object]) -> Iterator[None]:
        """Within, let the lines of one turn of this thread's loop leave in one append; `soon` is its call_soon."""
        self._soon, self._holder = soon, threading.get_ident()
        try:
            yield
        finally:
            self._soon = None
            self._let_go()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held:
            self._append(b"\n".join(held))

    def _reopen(self, path: Path) -> None:
        self._checked = time.monotonic()
        try:
            same = self._fd != 1 and os.path.samestat(os.stat(path), os.fstat(self._fd))
        except FileNotFoundError:
            same = False
        if same:
            return
        try:
            fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError:
            return  # keep what is open; asked again in a second
        if self._fd != 1:
            os.close(self._fd)
        self._fd = fd


def set_up(
    settings: Settings, process: str, *, strict: bool = False
) -> structlog.typing.FilteringBoundLogger:
    """Send this process's log, the standard library's included, to the site's file; returns the logger of this process.

    `strict` raises UnknownEvent for a name that EVENTS lacks.
    """
    level = _LEVELS[settings.logs.level]
    file = Path(settings.logs.file) if settings.logs.file else None
    if file is not None:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = _files[0] = LineFile(file)
    clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
    structlog.configure(
        processors=[
            _make_renderer(process, clock, EVENTS if strict else None)
        ],  # one: a chain costs as much as its work
        logger_factory=lambda *_: _Sink(lines),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=False,
    )
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger()
    _route_library(logger, level)
    return logger


_files: list[LineFile] = [LineFile(None)]  # of this process: one


def together() -> AbstractContextManager[None]:
    """Let the lines that are logged within leave in one append: for one short step of a loop, nothing may be awaited in it."""
    return _files[0].together()


def in_turns() -> AbstractContextManager[None]:
    """Let the lines of each turn of the running loop leave in one append: what a killed process said in its very last turn is not there."""
    return _files[0].in_turns(asyncio.get_running_loop().call_soon)


class _Sink:
    """What structlog gives a rendered line to."""

    def __init__(self, lines: LineFile) -> None:
        self.debug = self.info = lines.write
        self.warning = self.error = self.critical = self.exception = lines.write_now


def _make_renderer(
    process: str, clock: Clock, known: Container[str] | None
) -> Callable[[Any, str, MutableMapping[str, Any]], bytes]:
    """Return what makes an event the octets of a line; `known`: raise UnknownEvent for any other name."""
    encode = msgspec.json.Encoder(enc_hook=str).encode
    render_exception = structlog.processors.ExceptionRenderer(
        structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    )

    def render(logger: Any, method: str, event: MutableMapping[str, Any]) -> bytes:
        name = event.pop("event", "")
        if known is not None and name not in known:
            raise UnknownEvent(name)
        if "exc_info" in event:
            event = render_exception(logger, method, event)
        at = clock.now().isoformat(timespec="microseconds")
        line = {"at": at, "level": method, "event": name, "process": process, **_about.get(), **event}
        for key in ("recipient", "reverse_path"):
            if "+" in str(line.get(key, "")):
                line[key] = _TOKEN.sub("+...", str(line[key]))
        return encode(line)

    return render


def _route_library(logger: structlog.typing.FilteringBoundLogger, level: int) -> None:
    """Turn every line of the standard library's logging into one of ours."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            method = getattr(logger, record.levelname.lower(), logger.error)
            method(
                "library.said", logger=record.name, text=record.getMessage(), exc_info=record.exc_info or None
            )

    root = logging.getLogger()
    root.handlers[:] = [Handler()]
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("mail.log").setLevel(
        logging.ERROR
    )  # aiosmtpd: logs every body line at debug, every command at info
    logging.captureWarnings(True)


def log_uncaught(logger: structlog.typing.FilteringBoundLogger, error: BaseException) -> None:
    """Write down what ends a process; main does this before it returns 70."""
    logger.error("process.failed", error=f"{type(error).__name__}: {error}", exc_info=error)
    sys.stderr.flush()
