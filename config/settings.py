"""Every option of the configuration file: type, default, unit, meaning, and when to change it.

The structs are what the TOML file is decoded into; `bin/postroom config sample` is generated from the descriptions here.
load.py makes every path absolute before anybody else sees these values; nothing reads the environment later.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

Processes = Annotated[int, Meta(ge=0, le=64)]
Seconds = Annotated[float, Meta(gt=0, le=86400 * 30)]
Octets = Annotated[int, Meta(ge=0)]


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


class LmtpSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The LMTP front-end, where the MTA hands mail in."""

    listen: Annotated[
        list[str], Meta(description="host:port, [v6]:port or unix:path, each; never port 25 (RFC 2033 1).")
    ] = field(default_factory=lambda: ["127.0.0.1:8024", "unix:var/run/lmtp.sock"])
    processes: Annotated[
        Processes, Meta(description="Front-end processes sharing the sockets; one fills about one core.")
    ] = 1
    max_size: Annotated[
        int, Meta(ge=1, description="Octets of a whole message, announced as SIZE (RFC 1870).")
    ] = 31457280
    max_recipients: Annotated[
        int,
        Meta(
            ge=100,
            description="Recipients of one transaction; more are answered 452 4.5.3 (RFC 5321 4.5.3.1.8: 100 at least).",
        ),
    ] = 1000
    bare_newlines: Annotated[
        Literal["reject", "normalize"],
        Meta(
            description="What becomes of a message with a CR without LF or an LF without CR (docs/mta-newlines.md). reject: 550 5.6.11; "
            "Postfix, Exim and Sendmail never send one. normalize: each is made CR LF; for OpenSMTPD, which sends bare CRs."
        ),
    ] = "reject"
    idle_timeout_s: Annotated[
        Seconds,
        Meta(
            description="Silence after which a client is told 421 4.4.2 (RFC 5321 4.5.3.2.7: 300 at least)."
        ),
    ] = 300.0
    guesses_per_client: Annotated[
        int,
        Meta(
            ge=0,
            description='Refusals "not a member" an hour (and in a row) for one client that XFORWARD names, an IPv6 one by its /64; then every RCPT that would tell who is a member is told 451 4.7.1, whoever the sender is. No honest server has a thousand strangers an hour for closed lists. 0: no limit.',
        ),
    ] = 1000
    guesses_per_peer: Annotated[
        int,
        Meta(
            ge=0,
            description="The same for a peer that names no client: an MTA that speaks for all its clients, so it must be far more than the spam of a bad hour, or members' mail waits with it. 0: no limit.",
        ),
    ] = 100_000
    data_timeout_s: Annotated[
        Seconds,
        Meta(
            description="Time for a whole message after DATA, however fast or slow its octets come; then 421 4.4.2."
        ),
    ] = 600.0
    max_connections: Annotated[
        int,
        Meta(
            ge=10,
            description="Connections of all front-ends together, each has its share; more are told 421 4.3.2 at once.",
        ),
    ] = 500
    max_connections_per_peer: Annotated[
        int,
        Meta(
            ge=1,
            description="Connections of one IP address or one user of this host; more are told 421 4.7.0. An MTA has 20 to 60.",
        ),
    ] = 250
    max_commands: Annotated[
        int,
        Meta(
            ge=100,
            description="Commands in a row without a recipient that is taken; then 421 4.7.0. A client then connects again.",
        ),
    ] = 10_000
    max_errors: Annotated[
        int,
        Meta(
            ge=1,
            description="Lines in a row that are no command, without a recipient that is taken; then 421 4.7.0.",
        ),
    ] = 20
    max_in_flight: Annotated[
        Octets,
        Meta(
            description="Octets of messages on their way in, in the memory of all front-ends together, each has its share (at least two messages of max_size); more is told 452 4.3.1."
        ),
    ] = 256 * 2**20
    trusted: Annotated[
        list[str],
        Meta(
            description="Who may connect; anybody else is told 554 at once. Networks for TCP. user:NAME, uid:N, group:NAME, gid:N for the unix sockets; with none of these, whoever can open a socket (see socket_mode)."
        ),
    ] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    xforward: Annotated[
        list[str],
        Meta(
            description='Who of them may say for which client it speaks (Postfix\'s XFORWARD): it ends up in logs and items, and is the client whose guesses at members are counted. Entries as in trusted, or "trusted" for everybody who may connect; []: nobody.'
        ),
    ] = field(default_factory=lambda: ["trusted"])
    tls_cert: Annotated[
        str,
        Meta(
            description='PEM file: our certificate and those up to the CA. With it STARTTLS is offered over TCP, TLS 1.2 at least; a changed file is read without a restart. "": no TLS.'
        ),
    ] = ""
    tls_key: Annotated[
        str, Meta(description='PEM file: its private key, not encrypted. "": it stands in tls_cert.')
    ] = ""
    tls_client_ca: Annotated[
        str,
        Meta(
            description='PEM file: CAs whose client certificates are good, each of them; or the certificates of the clients themselves, and then no others. With it clients are asked for one, and a bad one ends the connection. "": not asked for.'
        ),
    ] = ""
    tls_require: Annotated[
        Literal["no", "tls", "certificate"],
        Meta(
            description="What a client over TCP must have before it may hand mail in: no: nothing; tls: TLS; certificate: TLS and a certificate of its own (tls_client_ca). Else 530 5.7.0. Unix sockets need none of it."
        ),
    ] = "no"
    socket_mode: Annotated[
        str,
        Meta(
            pattern="^0?[0-7]{3}$",
            description="Mode of the unix sockets. 0666 lets any user of this host hand mail in.",
        ),
    ] = "0666"
    socket_group: Annotated[
        str,
        Meta(
            description='Group of the unix sockets and of the folder they are in (then 0750). "": ours, folder 0711.'
        ),
    ] = ""
    uvloop: Annotated[
        bool,
        Meta(description="Use uvloop where it can be imported; false: plain asyncio, about half as fast."),
    ] = True


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
