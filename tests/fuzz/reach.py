"""Which places of our code inputs reach: pairs of lines that follow each other in lmtp/ and lists/, by the interpreter's own tracing. Slow and exact."""

import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.fuzz.targets import TARGETS

ROOT: Final = Path(__file__).resolve().parents[2]
_OURS: Final = (f"{ROOT}/lmtp/", f"{ROOT}/lists/")

Place = tuple[str, int, int]  # file, line, the line before


def reach(target: str, inputs: Iterable[bytes]) -> set[Place]:
    """Run inputs through a target; return the places that they reach."""
    places: set[Place] = set()
    before = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal before
        file = frame.f_code.co_filename
        if not file.startswith(_OURS):
            return None
        places.add((file, frame.f_lineno, before))
        before = frame.f_lineno
        return trace

    run = TARGETS[target]
    old = sys.gettrace()
    try:
        for octets in inputs:
            before = 0
            sys.settrace(trace)
            run(octets)
            sys.settrace(old)
    finally:
        sys.settrace(old)
    return places
