"""The only place where wall time comes from (`make check` refuses any other).

`[site] clock_file` holds one decimal number, the seconds added to the wall clock; absent or empty means 0. Every process
sees a change within half a second, so tests can move days. Deadlines and leases use `time.monotonic` and are not moved.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

RECHECK_S = 0.5  # how long an offset once read is believed; a change must be seen within 1 s


@dataclass(slots=True)
class Clock:
    """Wall time, shifted by the number in `file` when there is one."""

    file: Path | None = None
    _offset_s: float = field(default=0.0, repr=False)
    _checked: float = field(default=float("-inf"), repr=False)

    def time_s(self) -> float:
        """Return seconds since 1970-01-01 UTC."""
        if self.file is not None and time.monotonic() - self._checked >= RECHECK_S:
            self._offset_s = _read_offset(self.file, self._offset_s)
            self._checked = time.monotonic()
        return time.time() + self._offset_s

    def time_ms(self) -> int:
        """Return whole milliseconds since 1970-01-01 UTC, as the journal stores times."""
        return int(self.time_s() * 1000)

    def now(self) -> datetime:
        """Return the aware UTC time."""
        return datetime.fromtimestamp(self.time_s(), UTC)


def _read_offset(file: Path, last: float) -> float:
    """Read the offset; a file caught while it is being written keeps the last one."""
    try:
        text = file.read_text("ascii").strip()
    except FileNotFoundError:
        return 0.0
    except (OSError, UnicodeDecodeError):
        return last
    try:
        return float(text) if text else 0.0
    except ValueError:
        return last
