"""One process per queue: takes items from the bus and says what became of them. A runner of your own: docs/runners.md."""

from bus.messages import Item
from runners.outcome import Ack, Outcome, Output, Retry, Shunt
from runners.runner import Runner

__all__ = ["Ack", "Item", "Outcome", "Output", "Retry", "Runner", "Shunt"]
