"""Stories: one file each, told through real processes, LMTP in and SMTP out."""

from tests.support.story import story

__all__ = ["story"]
