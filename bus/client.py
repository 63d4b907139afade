"""How everything but the bus itself uses the bus. Nothing else of this package is imported from outside.

front.py publishes (lmtp), worker.py leases and settles (runners), overseer.py is master's, asking.py is for programs without an
event loop (bin/postroom). The wire protocol: docs/bus.md.
"""

from bus.asking import BusError, ask, ask_with_content, publish_now
from bus.connection import Away
from bus.front import Done, Front, Outcome, PublishRefused, Then
from bus.overseer import Overseer
from bus.worker import Lease, Worker

__all__ = [
    "Away",
    "BusError",
    "Done",
    "Front",
    "Lease",
    "Outcome",
    "Overseer",
    "PublishRefused",
    "Then",
    "Worker",
    "ask",
    "ask_with_content",
    "publish_now",
]
