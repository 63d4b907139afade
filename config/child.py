"""What a process under master owes to it: a name, a life line, readiness, beats, and a stack dump when asked.

Master gives every child on its command line the settings of this start (`--settings`, a file written by master), its
name and instance, the write end of a notice pipe (`--notice-fd`), the read end of a life pipe (`--life-fd`) and the lock on the state
(`--lock-fd`), which is only kept open: it stays locked until the last child has ended. The child writes
"READY\\n" once and "BEAT\\n" every BEAT_S from its main loop, so that a beat proves that this loop turns. When the
life pipe ends, master is gone and the child ends too; SIGTERM by PDEATHSIG says the same to a child that cannot read.
SIGUSR2 dumps the stacks of all threads to stderr. Without --notice-fd (by hand, in a test) all of this is quiet.
"""

import argparse
import contextlib
import ctypes
import faulthandler
import os
import select
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from setproctitle import setproctitle

from config import settings as settings_module
from config.names import Instance
from config.settings import Settings

BEAT_S = 2.0  # three missed are a death (DESIGN P8: noticed within 6 s)
PR_SET_PDEATHSIG = 1  # prctl(2)
M_MMAP_THRESHOLD = -3  # mallopt(3)
LARGE = 2**20  # octets; one such piece of memory costs 0.1 ms to get


@dataclass(slots=True)
class Child:
    """One process's view of master."""

    settings: Settings
    name: str  # "lmtp-1"
    instance: Instance  # "lmtp-1:9f3c2a10"
    notice_fd: int = -1
    life_fd: int = -1  # readable (EOF) when master is gone; -1 without a master
    extra: argparse.Namespace = field(default_factory=argparse.Namespace)

    def ready(self) -> None:
        """Tell master that this process does its work from now on."""
        self._notice(b"READY\n")

    def beat(self) -> None:
        """Tell master that the main loop still turns; call it every BEAT_S from that loop."""
        self._notice(b"BEAT\n")

    def _notice(self, line: bytes) -> None:
        if self.notice_fd >= 0:
            with contextlib.suppress(BrokenPipeError, BlockingIOError):  # master gone: the life pipe tells
                os.write(self.notice_fd, line)


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of a child's command line; the caller adds what is its own."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument(
        "--settings", required=True, type=Path, help="settings of this start, as master wrote them"
    )
    parser.add_argument("--name", required=True, help='this process among its kind, as in "incoming-1"')
    parser.add_argument("--instance", default="", help="this life of the process; a restart has another")
    parser.add_argument("--notice-fd", type=int, default=-1)
    parser.add_argument("--life-fd", type=int, default=-1)
    parser.add_argument("--lock-fd", type=int, default=-1)
    return parser


def start_child(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None = None, *, waits_for_disk: bool = False
) -> Child:
    """Parse a child's command line and tie its life to master's. Call it first in main, from the main thread.

    `waits_for_disk`: it does so again and again while others wait for it, and goes on at once when the disk has answered.
    """
    arguments = parser.parse_args(argv)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    if arguments.life_fd >= 0:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if select.select([arguments.life_fd], [], [], 0)[0]:  # master died between fork and prctl
            os.kill(os.getpid(), signal.SIGTERM)
    for fd in (arguments.life_fd, arguments.notice_fd, arguments.lock_fd):
        if fd >= 0:
            os.set_inheritable(fd, False)  # what a runner of one's own starts must not keep them open
    if arguments.notice_fd >= 0:
        os.set_blocking(arguments.notice_fd, False)
    if not waits_for_disk:
        _prefer_throughput()
    _give_back_large_memory()
    setproctitle(f"postroom {arguments.name}")
    return Child(
        settings=settings_module.decode(arguments.settings.read_bytes()),
        name=arguments.name,
        instance=Instance(arguments.instance or f"{arguments.name}:{os.getpid()}"),
        notice_fd=arguments.notice_fd,
        life_fd=arguments.life_fd,
        extra=arguments,
    )


def _prefer_throughput() -> None:
    """Let a process that is woken wait until the running one has used its slice (sched(7), SCHED_BATCH).

    A message wakes front-end and bus, and their I/O threads, about ten times. When each wake-up interrupts whoever is working, they hand
    single messages back and forth; when it does not, they find several at once. Measured on two cores, CPU a message of both together:
    0.41 -> 0.38 ms with 10 sessions, 0.29 -> 0.25 ms with 50.

    Not for the bus: it waits for the disk twice a batch, and a third of its time went by until it had a CPU again behind that.
    """
    with contextlib.suppress(OSError):  # a sandbox may forbid it; then it is only slower
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def spare_a_cpu() -> None:
    """Keep this process off one of the CPUs that it may use, the same for all that ask; with a single one there is nothing to spare.

    A nice process still keeps the CPU for some milliseconds while the bus waits for one, and every mail of the moment with it. Measured on two
    cores with 10 sessions, one `incoming` kept off one of them: 3,790 -> 4,340 mails/s.
    """
    with contextlib.suppress(OSError):  # a sandbox may forbid it; then it is only slower
        cpus = os.sched_getaffinity(0)
        if len(cpus) > 1:
            os.sched_setaffinity(0, cpus - {min(cpus)})


def _give_back_large_memory() -> None:
    """Let the memory of a large message go back to the system when it is let go of.

    Left to itself glibc learns from the first such piece to keep the next ones, up to 32 MiB each: a front-end that had taken twelve messages of 31 MB
    at once kept 91 to 249 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc's; musl gives large pieces back anyway
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)
