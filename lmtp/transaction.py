"""One mail transaction, from MAIL to the final replies."""

from collections.abc import Sequence

from aiosmtpd.smtp import Envelope

from config.names import ItemId
from lists.address import Destination
from lists.posts import Post
from lmtp.accept import Entry, Header, Plan
from lmtp.data import Message
from lmtp.replies import Reply
from lmtp.report import Answered


class Transaction(Envelope):
    """aiosmtpd's envelope, with where each recipient leads and with what came after DATA."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.message: Message | None = None
        self.header = Header("", False, False)
        self.post: Post | None = None  # the message as the rules see it
        self.judged: dict[
            Destination, Reply | Destination
        ] = {}  # what each list says of the message; a list is asked once
        self.plan: Plan | None = None
        self.began_s = 0.0  # monotonic, when the final dot was read

    def answered(self, final: Sequence[Reply], stored: tuple[ItemId, ...], now_s: float) -> Answered:
        """Return what the log tells of it: `final` replies, the ids under which items are stored, monotonic time."""
        return Answered(
            reverse_path=self.mail_from or "",
            entries=tuple(self.entries),
            replies=tuple(final),
            size=self.message.size if self.message else 0,
            plan=self.plan,
            stored=stored,
            duration_ms=round((now_s - self.began_s) * 1000, 3),
        )
