"""From a TOML file to Settings, or a ConfigError that says where to look and what to write.

The result is complete: every path is absolute (relative ones are relative to the file), every address, network and URL was looked
at. Whether a port is free or a folder can be written is master's to find out.
"""

import difflib
import os
import re
import tomllib
import typing
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from config.lines import find_line
from config.lmtp_settings import LmtpSettings
from config.names import BUILT_IN_QUEUES
from config.peers import BadPeer, read_peers
from config.settings import RunnerSettings, Settings

MAX_UNIX_PATH = 100  # octets; the kernel's sun_path ends at 108, and clients count differently
SMTP_PORT = 25
RESERVED = ("master", "bus", "lmtp")  # a queue of that name would have processes of that name
LONGEST_SOCKET = "master.sock"  # in [site] run
DEFAULT_PLACES = ("postroom.toml", "/etc/postroom/postroom.toml")

_HOST_PORT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\[\]:/\s]+)):(?P<port>[0-9]{1,5})")
_DOMAIN = re.compile(r"(?!-)[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.IGNORECASE)
_LOCAL_PART = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~.-]+")
_ADDRESS = re.compile(r"[^\s@<>,;:\"\\]+@(?P<domain>[^\s@<>]+)")
_SUFFIX = re.compile(r"-[a-z0-9][a-z0-9_-]*(?P<token>[^a-z0-9@-]\*)?")
_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


class ConfigError(Exception):
    """The configuration cannot be used; main prints it and exits 78 (EX_CONFIG)."""

    def __init__(self, file: Path | None, key: str, problem: str, line: int | None = None) -> None:
        place = f"{file or 'configuration'}" + (f":{line}" if line else "")
        super().__init__(": ".join(part for part in (place, key, problem) if part))
        self.file, self.key, self.problem, self.line = file, key, problem, line


def find_config(option: str | None) -> Path | None:
    """Find the file to read: `option`, else POSTROOM_CONFIG, else ./postroom.toml, else /etc/postroom/postroom.toml; None: there is none.

    A file that somebody named must exist: raises ConfigError.
    """
    named = option or os.environ.get("POSTROOM_CONFIG")
    if named:
        file = Path(named).absolute()
        if not file.is_file():
            raise ConfigError(
                file, "", f"no such file (named by {'--config' if option else 'POSTROOM_CONFIG'})"
            )
        return file
    return next((Path(place).absolute() for place in DEFAULT_PLACES if Path(place).is_file()), None)


def load(file: Path | None) -> Settings:
    """Read and check a configuration file; None means the defaults, with paths relative to the working folder."""
    text, base = "", Path.cwd()
    if file is not None:
        file = file.absolute()
        base = file.parent
        text = _read(file)
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(file, str(error)) from None
    _refuse_unknown(tree, Settings, file, text, ())
    try:
        settings = msgspec.convert(tree, Settings)
    except msgspec.ValidationError as error:
        raise _type_error(file, text, str(error)) from None
    settings = _with_absolute_paths(_with_var(settings, tree), base)
    for path, problem in _problems(settings):
        raise _error(file, text, path, problem)
    return settings


def _read(file: Path) -> str:
    try:
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(file, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(file, "", f"is not UTF-8 (octet {error.start})") from error


def _syntax_error(file: Path | None, message: str) -> ConfigError:
    where = re.search(r"\(at line (\d+), column (\d+)\)", message)
    line = int(where[1]) if where else None
    return ConfigError(file, "", "not TOML: " + message, line)


def _error(file: Path | None, text: str, path: tuple[str, ...], problem: str) -> ConfigError:
    return ConfigError(file, _spell(path), problem, find_line(text, path))


def _spell(path: tuple[str, ...]) -> str:
    """Write a path as people find it in the file: "[runners.incoming] slots"."""
    *tables, key = path
    return f"[{'.'.join(tables)}] {key}" if tables else f"[{key}]"


def _refuse_unknown(
    tree: Mapping[str, Any], struct: type, file: Path | None, text: str, path: tuple[str, ...]
) -> None:
    """Look at the names first: msgspec tells one unknown key, but neither its line nor the nearest right one."""
    known = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    for key, value in tree.items():
        here = (*path, key)
        if key not in known:
            raise _error(file, text, here, f"no such {'option' if path else 'table'}{_nearest(key, known)}")
        if not isinstance(value, dict):
            continue
        kind = known[key]
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            _refuse_unknown(value, kind, file, text, here)
        elif here == ("runners",):
            for name, table in value.items():
                if isinstance(table, dict):
                    _refuse_unknown(table, RunnerSettings, file, text, (*here, name))


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _type_error(file: Path | None, text: str, message: str) -> ConfigError:
    problem, _, where = message.partition(" - at ")
    parts = re.findall(r"\.([\w-]+)|\[(\.\.\.|\d+)\]", where.strip("`").removeprefix("$"))
    path = tuple(name for name, _ in parts if name)
    if "[...]" in where and path[:1] == (
        "runners",
    ):  # msgspec does not say which table: name the first that has the key
        tree = tomllib.loads(text).get("runners", {})
        tables = [
            name
            for name, table in tree.items()
            if not path[1:] or (isinstance(table, dict) and path[1] in table)
        ]
        path = ("runners", *tables[:1], *path[1:])
    return _error(file, text, path or ("",), problem[:1].lower() + problem[1:])


def _with_var(settings: Settings, tree: Mapping[str, Any]) -> Settings:
    """Let the defaults that lie in "var" follow `[site] var`, and the default socket `[site] run`."""
    replace = msgspec.structs.replace
    var = settings.site.var

    def default(table: str, key: str, value: str) -> str:
        return value if key in tree.get(table, {}) else value.replace("var/", f"{var}/", 1)

    site = replace(settings.site, run=default("site", "run", settings.site.run))
    listen = settings.lmtp.listen
    if "listen" not in tree.get("lmtp", {}):
        listen = [text.replace("unix:var/run/", f"unix:{site.run}/") for text in listen]
    return replace(
        settings,
        site=site,
        lmtp=replace(settings.lmtp, listen=listen),
        bus=replace(settings.bus, journal=default("bus", "journal", settings.bus.journal)),
        lists=replace(settings.lists, store=default("lists", "store", settings.lists.store)),
        logs=replace(settings.logs, file=default("logs", "file", settings.logs.file)),
    )


def _with_absolute_paths(settings: Settings, base: Path) -> Settings:
    replace = msgspec.structs.replace

    def path(text: str) -> str:
        return os.path.normpath(base / Path(text).expanduser()) if text else ""

    def listen(text: str) -> str:
        return f"unix:{path(text[5:])}" if text.startswith("unix:") and text[5:] else text

    site, lmtp = settings.site, settings.lmtp
    return replace(
        settings,
        site=replace(
            site,
            var=path(site.var or "."),
            run=path(site.run or "."),
            clock_file=path(site.clock_file),
            python_path=[str(base), *(path(folder) for folder in site.python_path)],
            domains=[domain.lower() for domain in site.domains],
            domain_aliases={alias.lower(): name.lower() for alias, name in site.domain_aliases.items()},
            mailboxes=[name.lower() for name in site.mailboxes],
        ),
        lmtp=replace(
            lmtp,
            listen=[listen(text) for text in lmtp.listen],
            tls_cert=path(lmtp.tls_cert),
            tls_key=path(lmtp.tls_key),
            tls_client_ca=path(lmtp.tls_client_ca),
        ),
        bus=replace(settings.bus, journal=_absolute_url(settings.bus.journal, path)),
        lists=replace(settings.lists, store=_absolute_url(settings.lists.store, path)),
        outgoing=replace(settings.outgoing, maildir=path(settings.outgoing.maildir)),
        notices=replace(settings.notices, templates=path(settings.notices.templates)),
        logs=replace(settings.logs, file=path(settings.logs.file)),
    )


def _absolute_url(url: str, path: typing.Callable[[str], str]) -> str:
    """Make the file of a SQLite URL absolute: three slashes are relative, four are absolute."""
    if url.startswith("sqlite:///") and url[10:]:
        return "sqlite:///" + path(url[10:])
    return url


def _problems(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what types cannot say: path of the option, and what is wrong with it."""
    yield from _site_problems(settings)
    yield from _alias_problems(settings)
    yield from _lmtp_problems(settings)
    for path, url in ((("bus", "journal"), settings.bus.journal), (("lists", "store"), settings.lists.store)):
        if not url.startswith("sqlite:////"):
            yield path, f"{url!r} is no sqlite:///path; other databases are not served by this version"
    if not settings.outgoing.maildir and (problem := _host_port_problem(settings.outgoing.smtp)):
        yield ("outgoing", "smtp"), problem
    yield from _runner_problems(settings)


def _site_problems(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    site = settings.site
    if site.owner and not _ADDRESS.fullmatch(site.owner):
        yield ("site", "owner"), f"{site.owner!r} is no address"
    for domain in site.domains:
        if not _DOMAIN.fullmatch(domain):
            yield ("site", "domains"), f"{domain!r} is no domain"
    if not re.fullmatch(r"[!#$%&*+/=?^_`|~.]", site.delimiter):
        yield (
            ("site", "delimiter"),
            f"{site.delimiter!r} cannot be one; '+' is usual, '=' and '_' are possible",
        )
    longest = os.fsencode(Path(site.run) / LONGEST_SOCKET)
    if len(longest) > MAX_UNIX_PATH:
        yield (
            ("site", "run"),
            f"{longest.decode(errors='replace')} has {len(longest)} octets, a unix socket path may have {MAX_UNIX_PATH}; choose a shorter folder",
        )


def _alias_problems(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    site = settings.site
    for alias, domain in site.domain_aliases.items():
        if bad := next((each for each in (alias, domain) if not _DOMAIN.fullmatch(each)), None):
            yield ("site", "domain_aliases"), f"{bad!r} is no domain"
        elif domain in site.domain_aliases:
            yield (
                ("site", "domain_aliases"),
                f"{domain!r} is an alias itself; name the domain that has the lists",
            )
        elif alias in site.domains:
            yield (
                ("site", "domain_aliases"),
                f"{alias!r} is in [site] domains too; it can be one or the other",
            )
        elif site.domains and domain not in site.domains:
            yield ("site", "domain_aliases"), f"{domain!r} is not in [site] domains"
    for name in site.mailboxes:
        if not _LOCAL_PART.fullmatch(name):
            yield ("site", "mailboxes"), f"{name!r} is no local part; write it without the @"
    try:
        date.fromisoformat(settings.lists.mailman_tokens_until or "2000-01-01")
    except ValueError:
        yield (
            ("lists", "mailman_tokens_until"),
            f'{settings.lists.mailman_tokens_until!r} is no day; write it as "2027-05-31"',
        )


def _lmtp_problems(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    for text in settings.lmtp.listen:
        if text.startswith("unix:"):
            octets = len(os.fsencode(text[5:]))
            if not octets:
                yield ("lmtp", "listen"), "'unix:' needs a path after it"
            elif octets > MAX_UNIX_PATH:
                yield (
                    ("lmtp", "listen"),
                    f"{text[5:]} has {octets} octets, a unix socket path may have {MAX_UNIX_PATH}",
                )
        elif problem := _host_port_problem(text):
            yield ("lmtp", "listen"), f"{problem} (or unix:path)"
        elif int(text.rpartition(":")[2]) == SMTP_PORT:
            yield ("lmtp", "listen"), f"{text!r}: port 25 is for SMTP, never for LMTP (RFC 2033 1)"
    yield from _tls_problems(settings.lmtp)
    forwarders = [entry for entry in settings.lmtp.xforward if entry != "trusted"]
    for key, entries in (("trusted", settings.lmtp.trusted), ("xforward", forwarders)):
        try:
            read_peers(entries)
        except BadPeer as error:
            yield ("lmtp", key), str(error)


def _tls_problems(lmtp: LmtpSettings) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what does not go together; what is in the files is certificates.py's."""
    if not lmtp.tls_cert:
        for key in ("tls_key", "tls_client_ca"):
            if getattr(lmtp, key):
                yield ("lmtp", key), "needs tls_cert, without which there is no TLS"
        if lmtp.tls_require != "no":
            yield (
                ("lmtp", "tls_require"),
                f"{lmtp.tls_require!r} needs tls_cert, or nobody could hand mail in",
            )
    if lmtp.tls_require == "certificate" and not lmtp.tls_client_ca:
        yield (
            ("lmtp", "tls_require"),
            "'certificate' needs tls_client_ca, which says whose certificates are good",
        )


def _host_port_problem(text: str) -> str | None:
    match = _HOST_PORT.fullmatch(text)
    if match and 0 <= int(match["port"]) <= 65535:
        return None
    return f"{text!r} is no host:port"


def _runner_problems(settings: Settings) -> Iterator[tuple[tuple[str, ...], str]]:
    taken: dict[str, str] = {}
    for name, runner in settings.runners.items():
        if name in RESERVED:
            yield ("runners", name), "is the name of a process of ours; call the queue something else"
        if runner.class_ and not _CLASS.fullmatch(runner.class_):
            yield ("runners", name, "class"), f"{runner.class_!r} is no module:Class"
        if name not in BUILT_IN_QUEUES and not runner.class_ and not runner.addresses:
            near = difflib.get_close_matches(name, BUILT_IN_QUEUES, n=1)
            yield (
                ("runners", name),
                "a queue of your own needs a class or addresses"
                + (f"; did you mean {near[0]}?" if near else ""),
            )
        for suffix in runner.addresses:
            match = _SUFFIX.fullmatch(suffix)
            if not match or (match["token"] and match["token"][0] != settings.site.delimiter):
                yield (
                    ("runners", name, "addresses"),
                    f'{suffix!r} is no suffix; write it as "-archive" or "-archive{settings.site.delimiter}*"',
                )
            elif taken.setdefault(suffix, name) != name:
                yield ("runners", name, "addresses"), f"{suffix!r} is [runners.{taken[suffix]}]'s already"
