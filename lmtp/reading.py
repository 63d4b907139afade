"""How one session reads: octets in, one command or message at a time, in turns that leave others theirs.

The part of a dialogue that knows nothing of what commands mean (dialogue.py) and nothing of sockets (connection.py): the order of replies, the
length of a turn, the memory that a message holds, and what happens when a step of ours fails. A turn ends when something must be awaited, when
the client does not read, after MAX_TURN commands or MAX_TURN_S seconds, whichever comes first; what is left waits in the input.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

from config.names import ItemId
from lists.posts import Post
from lmtp import accept, replies
from lmtp.client import Client
from lmtp.commands import is_tls
from lmtp.conduct import Conduct
from lmtp.data import Gathering
from lmtp.flight import RECIPIENT_OCTETS, Claim
from lmtp.input import Input
from lmtp.replies import Reply
from lmtp.service import Service
from lmtp.states import Delay, Pause, Want
from lmtp.transaction import Transaction

MAX_TURN_S: Final = (
    0.003  # seconds that one session has the processor; a rule of a list that takes longer is not cut short
)
MAX_TURN: Final = 500  # commands answered before other sessions get the processor (about 3 ms)


class Reading(ABC):
    """One session's; used from the event loop only."""

    def __init__(self, service: Service, client: Client) -> None:
        self.service = service
        self.client = client
        self.want: Want | None = None
        self.is_held = False  # the client does not read its replies: answer nothing more for now
        self.is_closing = False  # nothing more is read or answered
        self.has_quit = False  # it left as RFC 5321 4.1.1.10 asks
        self.conduct = Conduct(service.max_commands, service.max_errors)
        self.gathering_since_s = 0.0  # monotonic, when the last 354 was given
        self._input = Input()
        self._output: list[bytes] = [service.greeting]
        self._transaction = Transaction()
        self._gathering: Gathering | None = None
        self._claim = Claim(client.origin.name)
        self._given = 0  # replies of this turn when the step in hand began
        self._again: Callable[[], None] | None = None  # the step that is taken when `want` has been answered

    # What the connection calls ------------------------------------------------------------------------------------------

    @property
    def is_publishing(self) -> bool:
        """Whether final replies are owed: the final dot was read."""
        return self._transaction.message is not None

    @property
    def is_gathering(self) -> bool:
        """Whether a message is on its way in."""
        return self._gathering is not None

    @property
    def waiting(self) -> int:
        """Octets that were read and wait for their turn."""
        return len(self._input)

    def receive(self, data: bytes) -> None:
        """Take what was read from the socket."""
        if not self.is_closing:
            self._input.add(data)
            self._pump()

    def take_output(self) -> bytes:
        """Return the replies of this turn, to be written at once."""
        output = self._output
        if not output:
            return b""
        octets = output[0] if len(output) == 1 else b"".join(output)
        output.clear()
        return octets

    def resume(self) -> None:
        """Go on when the client reads again; what is awaited still is."""
        self.is_held = False
        self._pump()

    def go_on(self) -> None:
        """Go on after Pause or Delay."""
        if isinstance(self.want, Delay | Pause):
            again, self._again, self.want = self._again, None, None
            self._pump(again)
        else:
            self._pump()

    def say_goodbye(self, reply: Reply) -> None:
        """End the session from our side with a 421; final replies that are owed come before it."""
        if self.is_closing:
            return
        if self.is_publishing:
            self._finish([replies.BUSY] * len(self._transaction.entries), ())
        self._say(reply)
        self._close()

    def abandon(self) -> None:
        """The client is gone: what is being published stays, nothing more of it is read."""
        self._close()

    # Reading ------------------------------------------------------------------------------------------------------------

    def _pump(self, step: Callable[[], None] | None = None) -> None:
        """Take `step`, then use up the input, as far as nothing must be awaited.

        An error of ours is answered 451 to everybody who is owed a reply, and the session goes on in another turn.
        """
        try:
            if step is not None:
                self._given = len(self._output)
                step()
            self._use_up()
        except Exception as error:
            self._apologise(error)

    def _use_up(self) -> None:
        data = self._input
        if self.want is not None or self.is_held or self.is_closing or not data:
            return
        end_s = self.service.monotonic() + MAX_TURN_S
        for _ in range(MAX_TURN):
            self._given = len(self._output)
            if self._gathering is not None:
                if not self._gather(self._gathering):
                    return
            elif (line := data.next_line()) is not None:
                self._answer(line)
            else:
                if is_tls(data.data, data.position):
                    self.say_goodbye(replies.TLS)
                return
            if self.want is not None or self.is_held or self.is_closing or not data:
                return
            if self.service.monotonic() > end_s:
                break  # an odd address takes email's parser a millisecond and more
        self.want = Pause()

    def _gather(self, gathering: Gathering) -> bool:
        data = self._input
        end = gathering.feed(data.data, data.position)
        self._hold(gathering.held)
        if end < 0:
            data.clear()
            return False
        data.position = end
        self._gathering = None
        self._claim.give_up = None
        self._transaction.began_s = self.service.monotonic()
        self._transaction.message = gathering.message()
        self._look_at_message()
        return True

    def _look_at_message(self) -> None:
        transaction = self._transaction
        assert transaction.message is not None
        content = transaction.message.content
        transaction.header = accept.read_header(content)
        transaction.post = Post(transaction.mail_from or "", content)
        self._judge_message()

    def _hold(self, octets: int) -> None:
        """Claim so much memory for a message, beside its recipients."""
        held = octets + len(self._transaction.entries) * RECIPIENT_OCTETS
        self.service.flight.hold(self._claim, held)

    def _give_up(self) -> None:
        if self._gathering is not None:
            self._gathering.give_up()
            self._hold(0)

    def _apologise(self, error: Exception) -> None:
        self.service.report.failed(self.client.name, error)
        self.want = self._again = None
        if (
            len(self._output) == self._given
        ):  # a step gives its replies at once: else they were given before it failed
            if self.is_publishing:
                self._finish([replies.FAILED] * len(self._transaction.entries), ())
            else:
                self._say(replies.FAILED)
        if self._input and not self.is_closing:
            self.want = Pause()

    def _say(self, reply: Reply) -> None:
        self._output.append(reply.wire)

    def _close(self) -> None:
        self.is_closing = True
        self._input.clear()
        if not self.is_publishing:  # else the bus may still have to take it: _finish comes later
            self._again = None  # a reply behind our goodbye would be one too many
            self._give_up()
            self.service.flight.release(self._claim)

    # What a dialogue does -----------------------------------------------------------------------------------------------

    @abstractmethod
    def _answer(self, line: bytes) -> None:
        """Answer one command line, or say in `want` what must be awaited for it."""

    @abstractmethod
    def _judge_message(self) -> None:
        """Do what follows the final dot: the transaction has its message."""

    @abstractmethod
    def _finish(self, final: list[Reply], ids: tuple[ItemId, ...]) -> None:
        """Give the final replies, one for each accepted RCPT in their order, and end the transaction."""
