"""The ZeroMQ sockets of the bus. ZeroMQ moves octets and promises nothing: every loss is made good by the protocol.

A ROUTER is MANDATORY and everything is NOBLOCK: without the first it drops silently, without the second it blocks the whole bus
(bus.md A4). Sockets are unix sockets that only this user can open, and a second process that binds the same path would steal
it: the journal's lock is taken before anything is bound.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import zmq

LARGE = 64 * 1024  # octets from which pyzmq hands a frame over without a copy
MAX_FRAME = 2**30  # octets; a seat belt, sizes are checked where they mean something

_NOBLOCK = int(zmq.NOBLOCK)  # plain numbers: arithmetic with pyzmq's enums costs more than the call
_NOBLOCK_MORE = int(zmq.NOBLOCK | zmq.SNDMORE)


def bind(context: zmq.Context[zmq.Socket[bytes]], path: Path) -> zmq.Socket[bytes]:
    """Listen on a unix socket that only this user can open."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    socket = context.socket(zmq.ROUTER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    socket.setsockopt(zmq.BACKLOG, 512)
    mask = os.umask(0o177)
    try:
        socket.bind(f"ipc://{path}")
    finally:
        os.umask(mask)
    return socket


def connect(context: zmq.Context[zmq.Socket[bytes]], path: Path) -> zmq.Socket[bytes]:
    """Connect to the bus; sending fails at once while it is away."""
    socket = context.socket(zmq.DEALER)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.IMMEDIATE, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    socket.connect(f"ipc://{path}")
    return socket


def receive(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    """Return the next message, None when there is none."""
    try:
        frames = [socket.recv(_NOBLOCK)]
    except zmq.Again:
        return None
    while socket.getsockopt(zmq.RCVMORE):
        frames.append(socket.recv())  # a message arrives whole
    return frames


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes]) -> bool:
    """Send a message whole or not at all; False when the peer is not there or takes nothing."""
    last = len(frames) - 1
    try:
        for number, frame in enumerate(frames):  # only the first can be refused
            flags = _NOBLOCK if number == last else _NOBLOCK_MORE
            socket.send(frame, flags, copy=len(frame) < LARGE)
    except zmq.ZMQError as error:
        if error.errno in (errno.EAGAIN, errno.EHOSTUNREACH):
            return False
        raise
    return True
