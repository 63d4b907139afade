"""The site's folders and what master keeps in them: the site key, the settings that all children share, what was scaled.

Trusts that master holds the lock (lock.py). The journal, the list store and the log belong to others.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec

from config import settings as settings_module
from config.settings import Settings
from lists.errors import BadSecret
from lists.secret import load_site_key
from master.sockets import find_group


class Unusable(Exception):
    """The state cannot be used as it is; str() names what and why."""


def make_folders(settings: Settings) -> None:
    """Make VAR, RUN and what the log needs; open the way to the unix sockets. Raises Unusable.

    What is there keeps its mode, but on the way to a socket of ours: 0711, or 0750 of the group that may use it.
    """
    var, run = Path(settings.site.var), Path(settings.site.run)
    ours = [var, run]
    if settings.logs.file:
        ours.append(Path(settings.logs.file).parent)
    for folder in ours:
        _make(folder)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise Unusable(f"{folder}: not writable for this user")
    group = find_group(settings.lmtp.socket_group)
    for text in settings.lmtp.listen:
        if text.startswith("unix:"):
            made = _make(Path(text[5:]).parent)
            _open_way(_way(Path(text[5:]), var, run, made), group)


def _make(folder: Path) -> list[Path]:
    """Make a folder and what is missing above it, 0700 each; return the new ones."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(mode=0o700, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(20, "is not a folder")
    except OSError as error:
        raise Unusable(f"{folder}: cannot be made: {error.strerror}") from error
    return missing


def _way(socket_path: Path, var: Path, run: Path, made: list[Path]) -> Iterable[Path]:
    """Return the folders above a socket that are ours to open, the nearest first."""
    for folder in socket_path.parents:
        if not (folder in made or folder.is_relative_to(var) or folder.is_relative_to(run)):
            return
        yield folder


def _open_way(folders: Iterable[Path], group: int | None) -> None:
    for folder in folders:
        try:
            mode = folder.stat().st_mode & 0o7777
            if group is not None:
                os.chown(folder, -1, group)
            os.chmod(folder, mode | (0o711 if group is None else 0o750))
        except OSError as error:
            raise Unusable(f"{folder}: the way to the socket cannot be opened: {error.strerror}") from error
        _close_files(folder)


def _close_files(folder: Path) -> None:
    """Take from others what they could read in a folder that they may now enter: state is for this user."""
    for file in folder.iterdir():
        mode = file.lstat().st_mode
        if file.is_file() and not file.is_symlink() and mode & 0o007:
            with contextlib.suppress(OSError):  # somebody else's file
                file.chmod(mode & 0o770)


def make_key(settings: Settings) -> None:
    """Make the site key if there is none, before a child needs it; raises Unusable for one that cannot be used."""
    try:
        load_site_key(settings)
    except BadSecret as error:
        raise Unusable(str(error)) from error


def write_settings(settings: Settings) -> Path:
    """Write RUN/settings.json, what every child of this start reads."""
    return _replace(Path(settings.site.run) / "settings.json", settings_module.encode(settings))


class _Scaled(msgspec.Struct):
    """RUN/scale.json: what `scale` set, and what the configuration said then."""

    numbers: dict[str, int] = {}
    configured: dict[str, int] = {}


def read_scale(settings: Settings, configured: dict[str, int]) -> dict[str, int]:
    """Return what `scale` set in an earlier life, as far as the configuration has not changed since."""
    try:
        scaled = msgspec.json.decode((Path(settings.site.run) / "scale.json").read_bytes(), type=_Scaled)
    except (FileNotFoundError, msgspec.DecodeError):
        return {}
    return {
        what: number
        for what, number in scaled.numbers.items()
        if what in configured and scaled.configured.get(what) == configured[what]
    }


def write_scale(settings: Settings, configured: dict[str, int], numbers: dict[str, int]) -> None:
    """Remember what `scale` set."""
    scaled = _Scaled(numbers, {what: configured[what] for what in numbers})
    _replace(Path(settings.site.run) / "scale.json", msgspec.json.encode(scaled))


def _replace(path: Path, data: bytes) -> Path:
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    _write(draft, data)
    draft.replace(path)
    return path


def _write(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # of a process that had our pid and died here
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
