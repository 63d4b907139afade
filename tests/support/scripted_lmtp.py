"""A server that says what a test tells it to: for clients that must cope with servers which no library would be."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

DEADLINE_S = 10.0


@dataclass
class Heard:
    """What a client said: every command line, and the message as it came, dots and all."""

    port: int
    commands: list[str] = field(default_factory=list)
    message: bytes = b""


@contextmanager
def scripted_server(script: Sequence[tuple[str, bytes]]) -> Iterator[Heard]:
    """Serve one connection: for each (command prefix, answer), read a command, then answer; "" answers before any command.

    The prefix "." reads a message up to its final dot. When the script ends, so does the connection.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(DEADLINE_S)
        heard = Heard(listener.getsockname()[1])
        thread = threading.Thread(target=_serve, args=(listener, script, heard), daemon=True)
        thread.start()
        yield heard
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), heard


def _serve(listener: socket.socket, script: Sequence[tuple[str, bytes]], heard: Heard) -> None:
    connection, _ = listener.accept()
    connection.settimeout(DEADLINE_S)
    with connection, connection.makefile("rb") as reader:
        for prefix, answer in script:
            if prefix == ".":
                while (line := reader.readline()) and line != b".\r\n":
                    heard.message += line
            elif prefix:
                command = reader.readline().decode().rstrip("\r\n")
                heard.commands.append(command)
                if not command.startswith(prefix):
                    return
            connection.sendall(answer)
