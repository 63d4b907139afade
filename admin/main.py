"""bin/postroom: finds the command, and turns what went wrong into one line on stderr and an exit code.

0 done; 1 refused or not found; 2 wrong use; 78 bad configuration; 70 a bug of ours, with its traceback; 130 interrupted.
"""

import os
import sys
from collections.abc import Sequence

import click

from admin.command import LazyGroup, Refused
from admin.output import warn

EX_SOFTWARE = 70  # sysexits.h: an internal error
INTERRUPTED = 130  # as a shell counts SIGINT

NOUNS = {
    "lists": "admin.lists",
    "members": "admin.members",
    "bans": "admin.bans",
    "held": "admin.held",
    "tokens": "admin.tokens",
    "templates": "admin.templates",
    "queues": "admin.queues",
    "shunt": "admin.shunt",
    "trace": "admin.trace",
    "why": "admin.why",
    "send": "admin.send",
    "config": "admin.configuration",
    "demo": "admin.demo",
}


@click.group(
    cls=LazyGroup,
    modules=NOUNS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
def cli() -> None:
    """Administer Postroom. bin/master starts and stops it.

    LIST is a list's address or its list-id. Every listing takes --json.
    """


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a C locale cannot spell every address
    try:
        result = cli.main(argv, prog_name="postroom", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.UsageError as error:
        hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
        warn(f"{error.format_message()}{hint}")
        return error.exit_code
    except click.ClickException as error:
        warn(error.format_message())
        return 1
    except click.Abort:
        warn("interrupted")
        return INTERRUPTED
    except Refused as error:
        warn(str(error))
        return 1
    except OSError as error:
        if error.filename is None:
            _drop_output()
        warn(f"{error.filename or 'cannot write'}: {error.strerror or error}")
        return 1
    except Exception as error:
        return _tell_failure(error)


def _drop_output() -> None:
    """Let what could not be written go nowhere: else Python tries once more at its end, and complains in its own words."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _tell_failure(error: Exception) -> int:
    """Tell bad configuration from a bug: the classes that say so are not imported before a command has needed them."""
    for module, name in (("config.load", "ConfigError"), ("lists.errors", "BadSuffix")):
        if module in sys.modules and isinstance(error, getattr(sys.modules[module], name)):
            from config.names import EX_CONFIG

            warn(str(error))
            return EX_CONFIG
    sys.excepthook(type(error), error, error.__traceback__)
    warn(f"this is a bug: {type(error).__name__}: {error}")
    return EX_SOFTWARE


if __name__ == "__main__":
    sys.exit(main())
