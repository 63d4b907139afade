"""bin/master: starts a site, and tells a running one what to do. Here the command line is read; what it means is in commands.py.

0 done; 1 refused, or not running; 2 wrong use; 70 a bug of ours; 78 bad configuration. `status` exits 0 healthy, 1 degraded, 2 down.
"""

import argparse
import os
import resource
import sys
from collections.abc import Sequence
from contextlib import ExitStack

from master.link import Link

MAX_FILES = 65536  # descriptors of one process


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    arguments = _parser().parse_args(argv)
    with ExitStack() as cleanup:
        link = None
        if arguments.command == "start":
            os.umask(0o077)  # mail and keys are this user's; what others may use gets its mode on purpose
            _raise_limits()
            link = _start_forker(cleanup)
        from master.commands import run  # takes a tenth of a second, in which the forker has begun

        return run(arguments, link)


def _start_forker(cleanup: ExitStack) -> Link | None:
    try:
        link = Link.start()
    except OSError:
        return None  # whoever is started by exec meets the same, and says so
    if link is not None:
        cleanup.callback(link.close)
    return link


def _raise_limits() -> None:
    """Let every process have as many descriptors as it may: a front-end needs one a connection, and 1024 is the usual start."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="configuration file (default: POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml)",
    )
    parser = argparse.ArgumentParser(
        prog="master", description="Start a site, and tell a running one what to do.", parents=[shared]
    )
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text, parents=[shared])

    add("start", "Run the site in the foreground until SIGTERM or Ctrl-C.")
    add("stop", "End a running site in order; returns when it is gone.")
    add("restart", "Replace every process but master, with the port open; returns when all are ready.")
    told = add("status", "Show processes and queues; exits 0 healthy, 1 degraded, 2 down.")
    told.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    scaled = add("scale", "Change the number of processes while the site runs.")
    scaled.add_argument("what", metavar="QUEUE|lmtp")
    scaled.add_argument("number", metavar="N", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
