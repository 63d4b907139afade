"""What the kernel knows about a connection that its transport does not tell: whether our replies arrived, whether something unread waits.

A reply counts as read only with evidence, for a mail whose reply was read is a new mail when it comes again. That a client has closed is
none: one that was killed before we replied has closed as well, in order, and its kernel answers our reply with a reset. Linux; one system call each.
"""

import socket
import struct
import termios
from fcntl import ioctl
from typing import Final

_INT: Final = struct.Struct("i")


def has_arrived(sock: socket.socket) -> bool:
    """Whether everything we wrote is with the client, or with its kernel while it lived: nothing is on the way, nothing was reset."""
    failed: int = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return not failed and not _ask(sock.fileno(), termios.TIOCOUTQ)


def has_unread(sock: socket.socket) -> bool:
    """Whether octets of the client wait in the kernel: it sent them before it could read what we write now."""
    return _ask(sock.fileno(), termios.FIONREAD) > 0


def _ask(fd: int, request: int) -> int:
    (answer,) = _INT.unpack(ioctl(fd, request, bytes(_INT.size)))
    return int(answer)
