"""A program that a forker may be told to fork: does what its --name says, once, and ends."""

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from config.child import argument_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Write pid, parent, group and niceness to the file of --settings; exit with the number in --name."""
    arguments = argument_parser("A program for tests.").parse_args(argv)
    found = [os.getpid(), os.getppid(), os.getpgrp(), os.nice(0), threading.active_count()]
    draft: Path = arguments.settings.with_suffix(f".{os.getpid()}")
    draft.write_text(" ".join(map(str, found)))
    draft.replace(arguments.settings)
    if arguments.name == "stay":
        time.sleep(60)
    os.write(arguments.notice_fd, b"READY\n")
    return int(arguments.name)


if __name__ == "__main__":
    raise SystemExit(main())
