"""What can be wrong with a list, an address, an option or the store: one class per decision that a caller can take.

`str()` of each is a sentence for a person, without path or traceback; the data are attributes. Nothing of this is shown to an
LMTP client: policy.py has the replies.
"""


class BadAddress(ValueError):
    """This text is no mail address, or not one that this site can use here."""

    def __init__(self, address: str, problem: str) -> None:
        super().__init__(f"{address!r}: {problem}")
        self.address = address
        self.problem = problem


class ForeignDomain(Exception):
    """The recipient's domain is not ours; becomes 550 5.7.1."""


class UnknownList(Exception):
    """The domain is ours, but no list has this address; becomes 550 5.1.1."""


class BadSuffix(ValueError):
    """`[runners.QUEUE] addresses` has an entry that cannot be used: bad configuration, exit 78."""

    def __init__(self, queue: str, text: str, problem: str) -> None:
        super().__init__(f"[runners.{queue}] addresses: {text!r} {problem}")
        self.queue = queue
        self.text = text


class BadOption(ValueError):
    """A list setting that does not exist (then `nearest` may name the right one) or a value that it cannot take."""

    def __init__(self, name: str, problem: str, nearest: str = "") -> None:
        hint = f"; did you mean {nearest!r}?" if nearest else ""
        super().__init__(f"{name}: {problem}{hint}")
        self.name = name
        self.nearest = nearest


class BadPattern(ValueError):
    """An entry that is neither an address nor a ^regex that can be matched in linear time."""


class NoSuchList(LookupError):
    """No list has this address or list-id; `nearest` may name the one that was meant."""

    def __init__(self, text: str, nearest: str = "") -> None:
        hint = f"; did you mean {nearest}?" if nearest else ""
        super().__init__(f"no list {text!r}{hint}")
        self.text = text
        self.nearest = nearest


class ListExists(ValueError):
    """A list has this address or list-id already."""

    def __init__(self, address: str) -> None:
        super().__init__(f"there is a list {address} already")
        self.address = address


class NoSuchMember(LookupError):
    """The address has no such role in this list."""

    def __init__(self, list_id: str, address: str) -> None:
        super().__init__(f"{address} is not in {list_id}")
        self.list_id = list_id
        self.address = address


class NoSuchBan(LookupError):
    """Nothing of this text is banned there."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"{pattern!r} is not banned")
        self.pattern = pattern


class NoSuchHeld(LookupError):
    """No post is held under this number (any more)."""

    def __init__(self, number: int) -> None:
        super().__init__(f"no held post {number}")
        self.number = number


class BadListFile(ValueError):
    """The file of an exported list cannot be taken; nothing of it is."""

    def __init__(self, number: int, problem: str) -> None:
        super().__init__(f"line {number} {problem}")
        self.number = number


class StoreAway(Exception):
    """The list store cannot be used now: locked for too long, full disk, no such folder. For mail that is a 4xx or a Retry."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"the list store cannot be used: {what}; {remedy}")
        self.what = what
        self.remedy = remedy


class StoreTooNew(Exception):
    """A newer Postroom has written this store; this one must not touch it."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the list store has schema {found}, this version knows {known}: run the newer version of Postroom"
        )
        self.found = found
        self.known = known


class BadSecret(Exception):
    """The file with the site key cannot be used or made: a person must look, exit 78."""

    def __init__(self, file: str, problem: str) -> None:
        super().__init__(f"{file}: {problem}")
        self.file = file
        self.problem = problem
