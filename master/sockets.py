"""Binds what `[lmtp] listen` names, once; children inherit it, so the port stays open while they come and go.

The sockets listen from the beginning: a client that comes while no front-end is ready waits in the backlog instead of being
refused. Nothing is accepted here.
"""

import contextlib
import errno
import grp
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from config.lmtp_settings import LmtpSettings

BACKLOG = 512  # Postfix's inet_listen_backlog is 100, Exim's smtp_connect_backlog 20; a restart takes about a second
MAX_UNIX_PATH = 100  # octets; config/load.py refuses longer ones of the file


class CannotListen(Exception):
    """An address cannot be had; str() names it and the reason."""


class BadListen(Exception):
    """The configuration asks for an address or a group that cannot be; str() names it."""


class Listening(Struct, frozen=True):
    """One socket and the name that the configuration would give it: a closed socket has forgotten its own."""

    socket: socket.socket
    name: str

    def close(self) -> None:
        """Stop listening; a unix socket's path goes with it."""
        self.socket.close()
        if self.name.startswith("unix:"):
            Path(self.name[5:]).unlink(missing_ok=True)


def listen_all(settings: LmtpSettings) -> list[Listening]:
    """Bind and listen on every address; raises CannotListen or BadListen, with nothing left open."""
    with contextlib.ExitStack() as opened:
        made: list[Listening] = []
        for text in settings.listen:
            for each in _listen(text, settings):
                opened.callback(each.close)
                made.append(each)
        opened.pop_all()
        return made


def _listen(text: str, settings: LmtpSettings) -> Sequence[Listening]:
    if text.startswith("unix:"):
        mode = int(settings.socket_mode, 8)
        return [listen_unix(Path(text[5:]), mode, find_group(settings.socket_group))]
    return _listen_tcp(text)


def _listen_tcp(text: str) -> Sequence[Listening]:
    """Bind "host:port" or "[v6]:port": every address that a name has, as a client may try any."""
    host, _, port = text.rpartition(":")
    try:
        found = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise CannotListen(f"{text}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    for family, kind, protocol, _, address in dict.fromkeys(found):
        made = socket.socket(family, kind, protocol)
        sockets.append(made)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind(address)
            made.listen(BACKLOG)
        except OSError as error:
            for each in sockets:
                each.close()
            raise CannotListen(f"{text}: {_reason(error)}") from error
    return [Listening(each, _spell(each)) for each in sockets]


def listen_unix(path: Path, mode: int, group: int | None = None) -> Listening:
    """Bind and listen on a unix socket; one that a dead process left is replaced, one that answers is in use."""
    if len(os.fsencode(path)) > MAX_UNIX_PATH:
        raise BadListen(f"unix:{path}: a unix socket path may have {MAX_UNIX_PATH} octets")
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        made.bind(str(path))
        if group is not None:
            os.chown(path, -1, group)
        os.chmod(path, mode)  # before listen: nobody gets in under another mode
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise CannotListen(f"unix:{path}: {_reason(error)}") from error
    return Listening(made, f"unix:{path}")


def _remove_stale(path: Path) -> None:
    """Remove the socket of a dead process: nobody listens there. Raises OSError for anything else of that name."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(errno.EEXIST, "is there and is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a full backlog is somebody's too
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "in use")


def find_group(name: str) -> int | None:
    """Return the number of a group, None for ""; raises BadListen when there is none of this name."""
    if not name:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise BadListen(f"[lmtp] socket_group: no group {name!r} on this system") from None


def _spell(listening: socket.socket) -> str:
    """Write where a TCP socket listens, as the configuration does."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if listening.family == socket.AF_INET6 else f"{host}:{port}"


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "in use by another process"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted for this user"
    return error.strerror or str(error)
