"""What a process becomes when it starts under master; tried in a process of its own, since it cannot be taken back."""

import subprocess
import sys
from pathlib import Path

import pytest

from config.settings import Settings, encode

pytestmark = pytest.mark.slow

LARGE_PIECES = """
import ctypes, sys
from config.child import argument_parser, start_child

class Mallinfo(ctypes.Structure):  # mallinfo(3)
    _fields_ = [(name, ctypes.c_int) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

start_child(argument_parser("a test"), sys.argv[1:])
mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = Mallinfo
first = bytearray(30 * 2**20)
del first  # what glibc learns from
second = bytearray(20 * 2**20)
held = mallinfo().hblkhd
del second
print(held, mallinfo().hblkhd)
"""


def test_large_pieces_of_memory_are_the_systems_before_and_after(tmp_path: Path) -> None:
    settings = tmp_path / "settings.json"
    settings.write_bytes(encode(Settings()))
    done = subprocess.run(
        [sys.executable, "-c", LARGE_PIECES, "--settings", settings, "--name", "a-1"],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    held, kept = map(int, done.stdout.split())
    assert held - kept >= 20 * 2**20
    assert kept < 10 * 2**20
