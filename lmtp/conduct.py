"""How a client behaves: commands and errors in a row. Pure.

A counter each, looked at when a command is answered; what goes on in others' sessions does not matter here. A recipient that is
taken sets both back: a session that does work may go on for ever (callouts come by the thousand), one that only talks is ended.
"""

from lmtp import replies
from lmtp.replies import Reply


class Conduct:
    """One session's; the limits are `[lmtp] max_commands` and `max_errors`."""

    __slots__ = ("answered", "commands", "errors", "max_commands", "max_errors")

    def __init__(self, max_commands: int, max_errors: int) -> None:
        self.max_commands = max_commands
        self.max_errors = max_errors
        self.answered = 0  # commands in all: it rises when a client gets on
        self.commands = 0
        self.errors = 0

    def count(self, *, is_error: bool) -> Reply | None:
        """Count a line, which may be no command; the reply that ends the session when it is one too many."""
        self.answered += 1
        self.commands += 1
        if is_error:
            self.errors += 1
            if self.errors > self.max_errors:
                return replies.TOO_MANY_ERRORS
        return replies.TOO_MANY_COMMANDS if self.commands > self.max_commands else None

    def forgive(self) -> None:
        """Note that a recipient was taken."""
        self.commands = self.errors = 0
