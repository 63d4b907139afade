"""Prints what all processes append to the log file, and master's own words to people.

A thread of its own: stdout may be a pipe that nobody reads, and that must stop neither master nor mail. Nothing else of master
writes to stdout or, once it runs, to stderr. Without a log file children write to stdout themselves.
"""

import contextlib
import os
import threading
from collections import deque
from pathlib import Path
from typing import Any, Literal

import msgspec

POLL_S = 0.2  # between two looks at the file
CHUNK = 2**18  # octets read at a time
FINISH_S = 1.0  # what stdout gets to take the last lines

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class LogTail:
    """Follows one file from its present end, through renames; `start` it, `finish` it."""

    def __init__(self, file: Path | None, form: Literal["json", "console"]) -> None:
        self._path = file
        self._console = form == "console"
        self._fd = -1
        self._rest = b""  # a line whose end is not written yet
        self._words: deque[str] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="log-tail", daemon=True)
        if self._open():
            os.lseek(self._fd, 0, os.SEEK_END)

    def start(self) -> None:
        """Begin to print."""
        self._thread.start()

    def say(self, text: str) -> None:
        """Tell a person something, on stderr."""
        self._words.append(text)
        self._wake.set()

    def finish(self) -> None:
        """Print what is left; gives up after a second."""
        self._ending = True
        self._wake.set()
        self._thread.join(FINISH_S)

    def _run(self) -> None:
        going = True
        while going:
            going = not self._ending  # asked before the last look, so that nothing written before is missed
            with contextlib.suppress(OSError):  # a terminal or pipe that is gone; the file has it all
                self._print_growth()
            with contextlib.suppress(OSError):
                while self._words:
                    _write(2, f"{self._words.popleft()}\n".encode())
            self._wake.wait(POLL_S if going else 0)
            self._wake.clear()

    def _print_growth(self) -> None:
        if self._path is None:
            return
        if self._fd < 0 and not self._open():
            return
        self._print_rest_of_file()
        if self._was_renamed():
            self._print_rest_of_file()  # written between the look and the rename
            os.close(self._fd)
            self._fd, self._rest = -1, b""
            if self._open():
                self._print_rest_of_file()

    def _print_rest_of_file(self) -> None:
        if os.fstat(self._fd).st_size < os.lseek(self._fd, 0, os.SEEK_CUR):
            os.lseek(self._fd, 0, os.SEEK_SET)  # somebody emptied it (logrotate's copytruncate)
            self._rest = b""
        while data := os.read(self._fd, CHUNK):
            *lines, self._rest = (self._rest + data).split(b"\n")
            shown = [_spell(line) for line in lines] if self._console else lines
            _write(1, b"".join(line + b"\n" for line in shown if line))

    def _open(self) -> bool:
        try:
            self._fd = os.open(self._path or "", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        return True

    def _was_renamed(self) -> bool:
        try:
            return not os.path.samestat(os.stat(self._path or ""), os.fstat(self._fd))
        except FileNotFoundError:
            return True


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _spell(line: bytes) -> bytes:
    """Write a JSON line for a person: time, level, process, event, the rest."""
    try:
        event = _decode(line)
    except msgspec.DecodeError:
        return line
    at, level = str(event.pop("at", ""))[11:23], str(event.pop("level", ""))
    process, name = str(event.pop("process", "")), str(event.pop("event", ""))
    rest = " ".join(f"{key}={_spell_value(value)}" for key, value in event.items())
    return f"{at} {level[:5]:5} {process:12} {name:20} {rest}".rstrip().encode()


def _spell_value(value: Any) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()
    return text if text and not any(each in text for each in ' "=\n') else msgspec.json.encode(text).decode()
