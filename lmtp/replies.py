"""Every reply that the front-end can give: code, enhanced status code (RFC 3463), text.

A 4xx is our trouble or the world's and the client tries again; a 5xx states a fact about this command, message, sender or
recipient (DESIGN P2). Enhanced codes stand on every reply but the greeting, the answer to LHLO and 354 (RFC 2034 3; a 554 in place of the greeting may have one).
Texts show no exception, no path and nothing that the client sent. What a reply means for the session is not decided here.
"""

from msgspec import Struct

from config.names import ItemId

MAX_LINE = 512  # octets of a reply line with its CRLF (RFC 5321 4.5.3.1.5)
MAX_NAME = 255  # octets of a domain, ours too (RFC 5321 4.5.3.1.2)


class Reply(Struct, frozen=True):
    """One reply of one line; `wire` is what is written."""

    code: int
    enhanced: str
    text: str
    wire: bytes
    rule: str = ""  # what said so, for the log

    @property
    def is_permanent(self) -> bool:
        """Say whether the client will not try again."""
        return self.code >= 500


def make_reply(code: int, enhanced: str, text: str, rule: str = "") -> Reply:
    """Make a reply from parts that may come from elsewhere: what is not printable ASCII becomes "?", too long is cut."""
    clean = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    line = f"{code} {enhanced} {clean}" if enhanced else f"{code} {clean}"
    return Reply(code, enhanced, clean, line.encode()[: MAX_LINE - 2] + b"\r\n", rule)


# The session ----------------------------------------------------------------------------------------------------------

NOT_TRUSTED = make_reply(554, "5.7.1", "No service for you")  # in place of the greeting, RFC 5321 3.1
NOT_LMTP = make_reply(500, "5.5.1", "This is LMTP: say LHLO (RFC 2033)")
UNKNOWN_COMMAND = make_reply(500, "5.5.1", "Command not known")
NOT_IMPLEMENTED = make_reply(502, "5.5.1", "Command not implemented")
BAD_SYNTAX = make_reply(500, "5.5.2", "Not a command: control or non-UTF-8 octets")
BARE_LF = make_reply(500, "5.5.2", "A command ends with CR LF, not with LF alone")
LINE_TOO_LONG = make_reply(500, "5.5.2", "Command line too long")
BAD_ARGUMENT = make_reply(501, "5.5.4", "Syntax error in the argument")
NO_ARGUMENT = make_reply(501, "5.5.4", "This command takes no argument")
LHLO_SYNTAX = make_reply(501, "5.5.4", "Syntax: LHLO name")
READY_FOR_TLS = make_reply(220, "2.0.0", "Begin TLS now")
SAY_STARTTLS = make_reply(530, "5.7.0", "Say STARTTLS first")
IN_TLS = make_reply(503, "5.5.1", "This is TLS already")
XFORWARD_SYNTAX = make_reply(501, "5.5.4", "Syntax: XFORWARD attribute=value ...")
MAY_NOT_FORWARD = make_reply(550, "5.7.0", "XFORWARD is not for you")
SAY_LHLO = make_reply(503, "5.5.1", "Say LHLO first")
OK = make_reply(250, "2.0.0", "Ok")
BYE = make_reply(221, "2.0.0", "Bye")
CANNOT_VRFY = make_reply(252, "2.0.0", "Not verified here; RCPT tells")
HTTP = make_reply(421, "4.7.0", "This is LMTP, not HTTP")
TLS = make_reply(421, "4.7.0", "This is LMTP, not TLS")
TOO_MANY_COMMANDS = make_reply(421, "4.7.0", "Too many commands without a recipient")
TOO_MANY_ERRORS = make_reply(421, "4.7.0", "Too many lines that are no command")
TOO_MANY_CONNECTIONS = make_reply(421, "4.3.2", "Too many connections at the moment, try again")
TOO_MANY_OF_PEER = make_reply(421, "4.7.0", "Too many connections from your address")
NOT_NOW = make_reply(421, "4.3.2", "No mail is taken at the moment, try again")
TOO_SLOW = make_reply(421, "4.4.2", "Message took too long, closing")
IDLE_TOO_LONG = make_reply(421, "4.4.2", "Idle for too long, closing")
SHUTTING_DOWN = make_reply(421, "4.3.2", "Shutting down, try again soon")

# MAIL -----------------------------------------------------------------------------------------------------------------

SENDER_OK = make_reply(250, "2.1.0", "Sender ok")
MAIL_SYNTAX = make_reply(501, "5.5.4", "Syntax: MAIL FROM:<address> [parameters]")
BAD_SENDER = make_reply(553, "5.1.7", "Sender address not valid")
NESTED_MAIL = make_reply(503, "5.5.1", "Transaction is open: RSET first")
BAD_PARAMETER = make_reply(501, "5.5.4", "Syntax error in a parameter")
UNKNOWN_PARAMETER = make_reply(555, "5.5.4", "Parameter not known or not implemented")
TOO_BIG = make_reply(552, "5.3.4", "Message is bigger than this site takes")
STOPPED = make_reply(452, "4.3.1", "Not enough space at the moment")
BUSY = make_reply(451, "4.3.2", "Too busy at the moment, try again")
NO_ROOM = make_reply(452, "4.3.1", "Too much mail on its way in, try again")
BUS_AWAY = make_reply(451, "4.3.0", "Queue not reachable, try again")

# RCPT -----------------------------------------------------------------------------------------------------------------

RECIPIENT_OK = make_reply(250, "2.1.5", "Recipient ok")
RCPT_SYNTAX = make_reply(501, "5.5.4", "Syntax: RCPT TO:<address>")
BAD_RECIPIENT = make_reply(553, "5.1.3", "Recipient address not valid")
NEED_MAIL = make_reply(503, "5.5.1", "Say MAIL first")
TOO_MANY_RECIPIENTS = make_reply(452, "4.5.3", "Too many recipients in one transaction")
QUEUE_FULL = make_reply(452, "4.3.1", "Too much mail waiting for this address")
GUESSING = make_reply(451, "4.7.1", "Too many of your senders were refused here, try again later")
DOUBTFUL = make_reply(451, "4.3.0", "List store not reachable, try again")

# DATA and the final replies -------------------------------------------------------------------------------------------

GO_AHEAD = make_reply(354, "", "End data with <CR><LF>.<CR><LF>")
NO_RECIPIENTS = make_reply(503, "5.5.1", "No valid recipients")  # RFC 2033 4.2: must be 503
BARE_NEWLINE = make_reply(550, "5.6.11", "Bare CR or bare LF in the message")  # RFC 7960's registry entry
FAILED = make_reply(451, "4.3.0", "Error of ours, try again")
NOT_CONFIRMED = make_reply(451, "4.4.1", "Queue did not answer, try again")


def accepted(item_id: ItemId) -> Reply:
    """Say that the message is durable for this recipient; the MTA's log then leads to our trace."""
    return Reply(250, "2.0.0", f"Accepted {item_id}", b"250 2.0.0 Accepted %b\r\n" % item_id.encode())


def greeting(name: str) -> bytes:
    """Write the 220 line: who we are, not what runs here (a version tells an attacker what to try)."""
    return make_reply(220, "", f"{name[:MAX_NAME]} LMTP").wire


def features(name: str, max_size: int, *more: str) -> bytes:
    """Write the answer to LHLO; every keyword in it is kept (RFC 2920, 2034, 6152, 6531, 1870). `more`: what not everybody is offered."""
    keywords = ("PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME", "SMTPUTF8", *more, f"SIZE {max_size}")
    *lines, last = (make_reply(250, "", text).wire for text in (name[:MAX_NAME], *keywords))
    return b"".join(b"250-" + line[4:] for line in lines) + last
