"""The octets of one connection that were read and not yet used, and how far into the stream they are.

Hands out command lines. A line without an end is cut to one octet more than the parser takes: the client may go on for megabytes, the parser
still says "too long", and memory is bounded. What the octets mean is not known here.
"""

from lmtp.commands import MAX_COMMAND


class Input:
    """A buffer with a reading position; `data` and `position` are open to the gathering of a message."""

    __slots__ = ("data", "position", "received")

    def __init__(self) -> None:
        self.data = b""
        self.position = 0
        self.received = 0  # octets since the connection was made

    def add(self, data: bytes) -> None:
        """Append what was read from the socket."""
        self.received += len(data)
        if self.position < len(self.data):
            data = self.data[self.position :] + data
        self.data = data
        self.position = 0

    def __len__(self) -> int:
        return len(self.data) - self.position

    def __bool__(self) -> bool:
        return self.position < len(self.data)

    @property
    def at(self) -> int:
        """The place of the reading position in the whole stream."""
        return self.received - len(self.data) + self.position

    def next_line(self) -> bytes | None:
        """Take a line with its LF; None until one is there."""
        end = self.data.find(b"\n", self.position) + 1
        if end:
            line = self.data[self.position : end]
            self.position = end
            return line
        if len(self) > MAX_COMMAND:
            self.data = self.data[self.position : self.position + MAX_COMMAND]
            self.position = 0
        return None

    def clear(self) -> None:
        """Forget everything that is left."""
        self.data = b""
        self.position = 0
