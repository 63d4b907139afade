"""The process that forks the others: it has imported what they need, once, so a child is there in milliseconds and shares that memory.

`python -P -m master.forker --link-fd N MODULE...`. Master sends an Order over the link for each child, with the descriptors it gets; the
answer is a Born. A module is imported when it is ordered, and while nothing is ordered those of the command line are, in turn.
What is to be true of a fork:

- One thread, no sockets of a library, no open database: nothing here but imports. A second thread ends this process (a lock that it
  held would stay locked in the child for ever), and master starts its children by exec.
- The child is master's own: it is forked twice, so that it falls to master, which is its sub-reaper (prctl(2)). Master reaps and signals it,
  it dies with master, and the end of this process is nothing to it.
- It does nothing before master has its pid and says so (`_GO`). Where master did not wait for the answer, it ends unseen.
- Its code is of the moment when this process began: `restart` starts another forker first.

What does not belong here: which children there should be, and what becomes of them.
"""

import argparse
import ctypes
import errno
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections import deque
from collections.abc import Sequence

import msgspec
from msgspec import Struct
from setproctitle import setproctitle

WARM = b"WARM"  # said once, when everything of the command line is imported
GO = b"G"  # said by master to a child, through a pipe of its own
MAX_ORDER = 2**16  # octets; a path in it may have 4096
MAX_FDS = 200  # of one order; the kernel's own limit is 253 (unix(7), SCM_MAX_FD)
PR_SET_PDEATHSIG = 1  # prctl(2)


class Order(Struct, frozen=True):
    """One child to be forked. With it come descriptors: the pipe of GO, then one for each of `fd_options`."""

    module: str  # has main(argv) -> exit code
    arguments: list[str]
    fd_options: list[str]  # "--life-fd": given to main before the number that the descriptor has here
    nice: int  # on top of this process's own


class Born(Struct, frozen=True):
    """The answer: the child's pid, or the number of the error that the system gave."""

    pid: int = 0
    error: int = 0


encode_order = msgspec.json.Encoder().encode
decode_born = msgspec.json.Decoder(Born).decode
_encode_born = msgspec.json.Encoder().encode
_decode_order = msgspec.json.Decoder(Order).decode


class _Child(Struct, frozen=True):
    """What a forked child knows when it begins."""

    order: Order
    go_fd: int
    fds: list[int]
    master: int  # pid


def main(argv: Sequence[str] | None = None) -> int:
    """Fork what is ordered until master closes the link; in a child, be that child."""
    parser = argparse.ArgumentParser(description="Forks the processes of a Postroom site; master starts it.")
    parser.add_argument("--link-fd", type=int, required=True)
    parser.add_argument("modules", nargs="*")
    arguments = parser.parse_args(argv)
    gc.disable()  # modules are no garbage, and looking for some takes a tenth of the time
    setproctitle("postroom forker")
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # also when it is stopped
    with socket.socket(fileno=arguments.link_fd) as link:
        child = _serve(link, deque(arguments.modules))
    return 0 if child is None else _live(child)


def _serve(link: socket.socket, modules: deque[str]) -> _Child | None:
    """Answer orders; returns None when master is gone, and in each child what it is to be."""
    master = os.getppid()
    while True:
        while modules and not select.select([link], [], [], 0)[0]:
            load(modules.popleft())
            if not modules:
                link.send(WARM)
        data, fds, _, _ = socket.recv_fds(link, MAX_ORDER, MAX_FDS, socket.MSG_CMSG_CLOEXEC)
        if not data:
            return None
        order = _decode_order(data)
        load(order.module)
        try:
            born = Born(pid=_fork())
        except OSError as error:
            born = Born(error=error.errno or errno.EAGAIN)
        if not born.pid and not born.error:
            return _Child(order, fds[0], fds[1:], master)
        for fd in fds:
            os.close(fd)
        link.send(_encode_born(born))


def load(name: str) -> None:
    """Import a program, and what its PRELOAD says that it imports later."""
    for each in getattr(importlib.import_module(name), "PRELOAD", ()):
        importlib.import_module(each)


def _fork() -> int:
    """Return the pid of a new child of our sub-reaper's, 0 in that child; raises OSError."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("an imported module has started a thread; nothing can be forked beside it")
    gc.freeze()  # or the first collection in a child would touch, and so copy, all of this
    told, tell = os.pipe()
    between = os.fork()
    if between == 0:
        os.close(told)
        if _fork_again(tell) == 0:
            os.close(tell)
            return 0
        os._exit(0)
    os.close(tell)
    with open(told, "rb") as answer:
        found = int(answer.read() or -errno.EAGAIN)
    os.waitpid(between, 0)  # from now on the child is master's
    if found < 0:
        raise OSError(-found, os.strerror(-found))
    return found


def _fork_again(tell: int) -> int:
    """In the process between: fork, and write down the pid, or the error with a minus."""
    try:
        found = os.fork()
    except OSError as error:
        found = -(error.errno or errno.EAGAIN)
    if found:
        os.write(tell, b"%d" % found)
    return found


def _live(child: _Child) -> int:
    """Be the child that was ordered: as a program of its own would begin, but that its modules are there."""
    os.setpgid(0, 0)  # Ctrl-C reaches master alone
    os.nice(child.order.nice)
    if os.read(child.go_fd, 1) != GO or os.getppid() != child.master:
        os._exit(0)  # master is gone, or has another in our place
    os.close(child.go_fd)
    program = sys.modules[child.order.module]
    arguments = list(child.order.arguments)
    for option, fd in zip(child.order.fd_options, child.fds, strict=True):
        arguments += [option, str(fd)]
    sys.argv = [str(program.__file__), *arguments]
    gc.enable()
    code: int = program.main(arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking a thousand modules apart would first copy each page that is shared


if __name__ == "__main__":
    sys.exit(main())
