"""Every option of the configuration file: type, default, unit, meaning, and when to change it. Those of `[lmtp]` are in lmtp_settings.py.

The structs are what the TOML file is decoded into; `bin/postroom config sample` is generated from the descriptions here.
load.py makes every path absolute before anybody else sees these values; nothing reads the environment later.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from config.lmtp_settings import LmtpSettings
from config.units import Octets, Processes, Seconds


class SiteSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The site as a whole."""

    name: Annotated[
        str,
        Meta(
            description="Host name that this site gives as its own: in the LMTP greeting, in EHLO, in reports."
        ),
    ] = "localhost"
    owner: Annotated[
        str,
        Meta(
            description='Address of the person behind this site: gets mail for postmaster, abuse and lists without a reachable owner. "": nobody, and such mail is set aside (shunted); `master status` says so.'
        ),
    ] = ""
    domains: Annotated[
        list[str],
        Meta(
            description="Mail domains that are ours. Empty: every domain that has a list. Set it to refuse lists elsewhere."
        ),
    ] = []
    domain_aliases: Annotated[
        dict[str, str],
        Meta(
            description='Other names of domains of ours, as { "old.example" = "example.org" }: ant@old.example is ant@example.org, and so is every other address; lists are not made there.'
        ),
    ] = {}
    mailboxes: Annotated[
        list[str],
        Meta(
            description="Local parts whose mail goes to [site] owner in every domain of ours, when no list has the name: abuse (RFC 2142 4) and this program's own. postmaster always does (RFC 5321 4.5.1); add mailman if you had that."
        ),
    ] = field(default_factory=lambda: ["abuse", "postroom"])
    delimiter: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=1,
            description="Between an address and its token, as in ant-bounces+TOKEN@. Same as your MTA's.",
        ),
    ] = "+"
    var: Annotated[
        str,
        Meta(
            description="Folder of all state: journal, lists, site key, logs, and sockets, where the options below do not place them elsewhere. Local file system only."
        ),
    ] = "var"
    run: Annotated[
        str,
        Meta(description="Folder of sockets and locks; short, since unix socket paths end at 100 octets."),
    ] = "var/run"
    python_path: Annotated[
        list[str],
        Meta(description="More folders to import runners from; the folder of this file is always one."),
    ] = []
    clock_file: Annotated[
        str,
        Meta(
            description='For tests: a file holding the seconds to add to the wall clock. "": the clock is right.'
        ),
    ] = ""


class BusSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The bus: the queues and their journal."""

    journal: Annotated[
        str, Meta(description="Where items are kept: sqlite:///path (three slashes relative, four absolute).")
    ] = "sqlite:///var/journal.db"
    crashes_before_shunt: Annotated[
        int, Meta(ge=1, description="An item whose runner died this often while it was in hand is set aside.")
    ] = 3
    max_items: Annotated[
        int,
        Meta(ge=1, description="Items waiting in one queue above which new mail for it is told 452 4.3.1."),
    ] = 50_000
    max_bytes: Annotated[
        Octets, Meta(description="Octets waiting in one queue above which new mail for it is told 452 4.3.1.")
    ] = 2 * 2**30
    min_free: Annotated[
        Octets,
        Meta(
            description="Free octets of the journal's disk under which no new mail is taken; on a small disk a tenth of it, if less."
        ),
    ] = 128 * 2**20
    min_memory: Annotated[
        Octets,
        Meta(
            description="Available octets of memory (of the machine, and of a control group with a limit) under which no new mail is taken: 451 4.3.2. 0: never refused for that."
        ),
    ] = 64 * 2**20
    ballast: Annotated[
        Octets,
        Meta(
            description="Size of a file that is given up when the disk is full, so that queued mail can still leave; on a small disk a twentieth of it, if less."
        ),
    ] = 32 * 2**20


class ListsSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The list store: lists, members, bans, held posts."""

    store: Annotated[str, Meta(description="sqlite:///path (three slashes relative, four absolute).")] = (
        "sqlite:///var/lists.db"
    )
    mailman_tokens_until: Annotated[
        str,
        Meta(
            description='Day (UTC, "2027-05-31") until which LIST-confirm+TOKEN@ is taken with the 40 hex digits of Mailman, whose tokens live up to 180 days. "": never, they are refused at RCPT as every wrong token is. For sites that came from Mailman.'
        ),
    ] = ""


class OutgoingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where finished mail goes."""

    smtp: Annotated[str, Meta(description="host:port of the MTA that takes our mail.")] = "127.0.0.1:25"
    maildir: Annotated[
        str,
        Meta(
            description='Instead of SMTP: one Maildir per recipient under this folder, for a first try without an MTA. "": SMTP.'
        ),
    ] = ""
    connections: Annotated[
        int, Meta(ge=1, le=100, description="SMTP connections of one outgoing process.")
    ] = 4
    recipients_per_transaction: Annotated[
        int,
        Meta(
            ge=1,
            le=100,
            description="RCPT commands of one SMTP transaction (RFC 5321 4.5.3.1.8: 100 are always taken).",
        ),
    ] = 100
    timeout_s: Annotated[
        Seconds, Meta(description="For connecting and for each reply but the last (RFC 5321 4.5.3.2: 300).")
    ] = 300.0
    data_timeout_s: Annotated[
        Seconds, Meta(description="For the reply after the final dot (RFC 5321 4.5.3.2.6: 600).")
    ] = 600.0
    helo: Annotated[str, Meta(description='Name we say in EHLO. "": [site] name.')] = ""
    deliver_for_s: Annotated[
        Seconds,
        Meta(
            description="How long a recipient answered 4xx is tried again, from acceptance on (Postfix: 5 days)."
        ),
    ] = 432000.0


class RunnerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One queue's runner; a table of any other name is a queue of your own."""

    processes: Annotated[
        Processes, Meta(description="Runner processes; one list is handled by one at a time anyway.")
    ] = 1
    class_: Annotated[
        str, Meta(description='"module:Class" of your own runner; "": the built-in one of this queue.')
    ] = field(name="class", default="")
    addresses: Annotated[
        list[str],
        Meta(
            description='Suffixes whose mail comes to this queue: "-archive" or, with a token, "-archive+*".'
        ),
    ] = []
    slots: Annotated[
        int,
        Meta(ge=0, le=256, description="Items one process handles at a time; 0: the runner class decides."),
    ] = 0
    nice: Annotated[
        int, Meta(ge=0, le=19, description="Scheduling priority, so that accepting mail comes first.")
    ] = 5
    spare_cpu: Annotated[
        bool,
        Meta(
            description="Keep off one CPU, so that runners never have all of them while mail is to be accepted. No effect where there is one."
        ),
    ] = True
    max_runtime_s: Annotated[
        Seconds, Meta(description="A handler that takes longer is ended, and its item blamed.")
    ] = 300.0
    stop_grace_s: Annotated[Seconds, Meta(description="What is in hand at a stop may take this long.")] = 20.0


class NoticeSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Mail that Postroom writes by itself: confirmations, answers, warnings."""

    per_day: Annotated[
        int,
        Meta(
            ge=0,
            description="Notices for one address in 24 hours, all kinds and lists together: what forged requests can do to a stranger (Mailman: 10 a day). 0: none at all.",
        ),
    ] = 10
    staff_per_day: Annotated[
        int,
        Meta(ge=0, description="The same for an owner or moderator, where each held post may be a mail."),
    ] = 200
    templates: Annotated[
        str,
        Meta(
            description='Folder of your own texts: site/LANGUAGE/NAME.txt, domains/DOMAIN/..., lists/LIST-ID/...; `bin/postroom templates` shows them. "": none.'
        ),
    ] = ""
    language: Annotated[
        str,
        Meta(
            pattern="^[a-z]{2,3}(_[A-Z]{2})?$",
            description='Language of the texts, "en" or "pt_BR"; English stands in for what is missing.',
        ),
    ] = "en"


class LogSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What every process tells of what it does."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="debug, info, warning or error.")
    ] = "info"
    format: Annotated[
        Literal["json", "console"],
        Meta(description="How master prints the lines: json or console. The file always has JSON."),
    ] = "json"
    file: Annotated[
        str,
        Meta(
            description='JSON lines of every process; `bin/postroom trace` reads it. May be renamed by logrotate. "": none.'
        ),
    ] = "var/log/postroom.jsonl"


class MonitorSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics, health and the status page."""

    listen: Annotated[
        str, Meta(description='Only "" in this version: there is no monitor yet.', max_length=0)
    ] = ""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """One configuration file, whole."""

    site: SiteSettings = SiteSettings()
    lmtp: LmtpSettings = LmtpSettings()
    bus: BusSettings = BusSettings()
    lists: ListsSettings = ListsSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    runners: dict[Annotated[str, Meta(pattern="^[a-z][a-z0-9_-]{0,31}$")], RunnerSettings] = {}
    notices: NoticeSettings = NoticeSettings()
    logs: LogSettings = LogSettings()
    monitor: MonitorSettings = MonitorSettings()

    def runner(self, queue: str) -> RunnerSettings:
        """Return the settings of a queue's runner, the defaults where the file has no table for it."""
        return self.runners.get(queue) or RunnerSettings()


def encode(settings: Settings) -> bytes:
    """Write settings as master hands them to its children, so that all of one start have the same."""
    return msgspec.json.encode(settings)


def decode(data: bytes) -> Settings:
    """Read what `encode` wrote."""
    return msgspec.json.decode(data, type=Settings)
