"""The kinds of numbers that settings have."""

from typing import Annotated

from msgspec import Meta

Processes = Annotated[int, Meta(ge=0, le=64)]
Seconds = Annotated[float, Meta(gt=0, le=86400 * 30)]
Octets = Annotated[int, Meta(ge=0)]
