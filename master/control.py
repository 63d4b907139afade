"""RUN/master.sock: one JSON object a line, each way.

`{"do": "status"}`, `{"do": "stop"}`, `{"do": "restart"}`, `{"do": "scale", "what": "incoming", "number": 4}`; the answer is `{"ok": true, ...}`
or `{"ok": false, "error": "..."}`. The socket is 0600 in a folder that is 0700: who can connect may do everything. What the requests
do is the caller's.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from config.settings import Settings

MAX_LINE = 64 * 2**10  # octets of a request; the longest needs 100
Handle = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class MasterAway(Exception):
    """No master answers on the control socket."""


class MasterError(Exception):
    """Master refused; str() is its reason."""


def socket_path(settings: Settings) -> Path:
    """Return where master listens for commands."""
    return Path(settings.site.run) / "master.sock"


def call(settings: Settings, request: Mapping[str, Any], timeout_s: float = 10.0) -> dict[str, Any]:
    """Ask master and return its answer. Raises MasterAway when none answers in time, MasterError when it refuses."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(socket_path(settings)))
            client.sendall(_encode(request) + b"\n")
            with client.makefile("rb") as lines:
                answer = _decode(lines.readline())
        except (
            OSError,
            msgspec.DecodeError,
        ) as error:  # TimeoutError is an OSError; a cut line does not decode
            raise MasterAway(f"no answer on {socket_path(settings)}") from error
    if not answer.get("ok"):
        raise MasterError(str(answer.get("error", "no reason given")))
    return answer


@contextlib.asynccontextmanager
async def serve(listening: socket.socket, handle: Handle) -> AsyncIterator[None]:
    """Answer requests while the context lasts; `handle` raises MasterError to refuse."""
    writers: set[asyncio.StreamWriter] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            # ValueError: the line is longer than the limit. ConnectionError: the client left.
            with contextlib.suppress(ConnectionError, ValueError):
                while line := await reader.readline():
                    writer.write(_encode(await _answer(line, handle)) + b"\n")
                    await writer.drain()
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_unix_server(converse, sock=listening, limit=MAX_LINE)
    try:
        yield
    finally:
        server.close()
        for writer in list(writers):
            writer.close()


async def _answer(line: bytes, handle: Handle) -> dict[str, Any]:
    try:
        return {"ok": True, **await handle(_decode(line))}
    except msgspec.DecodeError as error:
        return {"ok": False, "error": f"not a JSON object: {error}"}
    except MasterError as error:
        return {"ok": False, "error": str(error)}
