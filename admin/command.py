"""What every command of bin/postroom shares: `--config` in any place, settings, the list store, the bus, and how trouble is told.

A command raises Refused for what a person can do something about; main prints it as one line and exits 1. Start-up time is
part of the interface, for scripts call this in loops: a command module imports click and the leaf alone at its top, and the store,
the bus and all else inside the command that uses it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from config.clock import Clock
    from config.settings import Settings
    from lists.records import Origin
    from lists.store import Store

_CONFIG = "postroom.config"  # keys of click's meta, which a command shares with the groups that it is in
_SETTINGS = "postroom.settings"
PROBE_S = 1.0  # a local socket takes a connection at once, or its listener is stuck
BUS_AWAY = "start the site with bin/master start, or look at bin/master status"


class Refused(Exception):
    """What was asked for cannot be done; the text says what, where, and what to do. Exit 1."""


def _config_option() -> click.Option:
    def note(context: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            context.meta[_CONFIG] = value

    return click.Option(
        ["--config"],
        metavar="FILE",
        expose_value=False,
        callback=note,
        help="Configuration file; else POSTROOM_CONFIG, ./postroom.toml, /etc/postroom/postroom.toml.",
    )


class Command(click.Command):
    """A command that takes --config, as the groups around it do."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_config_option())


class Group(click.Group):
    """A noun: a group of commands, each of which takes --config."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.append(_config_option())


class LazyGroup(Group):
    """The nouns themselves: a module is imported when its command is called, or when help lists them all."""

    def __init__(self, *args: Any, modules: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._modules = modules

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._modules:
            return None
        command: click.Command = importlib.import_module(self._modules[name]).command
        return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_settings() -> Settings:
    """Read the configuration that this call names; raises ConfigError, which main turns into exit 78."""
    context = click.get_current_context()
    settings: Settings | None = context.meta.get(_SETTINGS)
    if settings is None:
        from config.load import find_config, load

        settings = context.meta[_SETTINGS] = load(find_config(config_named()))
    return settings


def config_named() -> str | None:
    """Return what --config named, the last of them where there are several."""
    named: str | None = click.get_current_context().meta.get(_CONFIG)
    return named


def make_clock(settings: Settings) -> Clock:
    """Make the site's clock, `[site] clock_file` included."""
    from pathlib import Path

    from config.clock import Clock

    return Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)


@contextmanager
def open_store(settings: Settings) -> Iterator[Store]:
    """Open the list store for one command; what can be wrong with a name, a value or the store becomes Refused."""
    from lists.store import Store

    with list_trouble(), Store(settings) as store:
        yield store


@contextmanager
def list_trouble() -> Iterator[None]:
    """Turn what lists/ raises for a person into Refused: its words are for a person already."""
    from lists import errors

    try:
        yield
    except errors.NoSuchList as error:
        raise Refused(f"{error} (bin/postroom lists ls shows all)") from error
    except (
        errors.BadAddress,
        errors.BadListFile,
        errors.BadOption,
        errors.BadPattern,
        errors.BadSecret,
        errors.ListExists,
        errors.NoSuchBan,
        errors.NoSuchHeld,
        errors.NoSuchMember,
        errors.StoreAway,
        errors.StoreTooNew,
    ) as error:
        raise Refused(str(error)) from error


def origin_of(why: str = "") -> Origin:
    """Say who gave this command, for the history: the user of the system, and behind sudo the one who asked."""
    import pwd

    from lists.records import Origin

    uid = os.getuid()
    try:
        who = pwd.getpwuid(uid).pw_name
    except KeyError:
        who = str(uid)
    behind = os.environ.get("SUDO_USER", "") if uid == 0 else ""
    return Origin("command", f"{who} ({behind})" if behind else who, why=why)


def spell_list_id(text: str) -> str:
    """Return the list-id of LIST without a look-up, so that what is left of a removed list can be named too."""
    return text.strip("<>").lower().replace("@", ".")


def ask_bus(settings: Settings, what: str, **args: Any) -> Any:
    """Ask the bus; trouble becomes Refused with what to do about it."""
    with bus_trouble(settings):
        from bus.client import ask

        return ask(settings, what, **args)


def ask_bus_with_content(settings: Settings, what: str, **args: Any) -> tuple[Any, bytes]:
    """Ask the bus for an item and its message."""
    with bus_trouble(settings):
        from bus.client import ask_with_content

        return ask_with_content(settings, what, **args)


@contextmanager
def bus_trouble(settings: Settings) -> Iterator[None]:
    """Turn what can be wrong with the bus into Refused; at once where nothing runs, for the bus's client would wait."""
    away = f"the bus of {settings.site.run} does not answer; {BUS_AWAY}"
    if not _may_answer(settings):
        raise Refused(away)
    from bus.client import Away, BusError, PublishRefused

    try:
        yield
    except Away as error:
        raise Refused(away) from error
    except PublishRefused as error:
        raise Refused(f"the bus does not take it now: {error.reason}") from error
    except BusError as error:
        raise Refused(str(error)) from error


def _may_answer(settings: Settings) -> bool:
    """Tell whether waiting makes sense: the bus listens, or master does, which starts a bus that died within 2 s."""
    return any(
        _is_listened_to(os.path.join(settings.site.run, name)) for name in ("work.sock", "master.sock")
    )


def _is_listened_to(path: str) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(path)
        except OSError:
            return False
    return True
