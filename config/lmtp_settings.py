"""`[lmtp]`: where mail comes in, who may bring it, and how much of it."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from config.units import Octets, Processes, Seconds


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
