"""One mail transaction, from MAIL to the final replies."""

from aiosmtpd.smtp import Envelope

from lists.posts import Post
from lmtp.accept import Entry, Header, Plan
from lmtp.data import Message


class Transaction(Envelope):
    """aiosmtpd's envelope, with where each recipient leads and with what came after DATA."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.message: Message | None = None
        self.header = Header("", False, False)
        self.post: Post | None = None  # the message as the rules see it
        self.plan: Plan | None = None
        self.began_s = 0.0  # monotonic, when the final dot was read
