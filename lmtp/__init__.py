"""The RFC 2033 front-end: decides about every recipient in the dialogue and says 250 only for what is on disk."""
