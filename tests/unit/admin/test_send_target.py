"""Where `send` goes when nobody says where."""

from admin.lmtp_client import Target
from admin.send import find_target
from config.lmtp_settings import LmtpSettings
from config.settings import Settings

LISTEN = ["127.0.0.1:8024", "unix:/run/a.sock", "unix:/run/b.sock"]


def test_the_first_place_is_taken() -> None:
    assert find_target(Settings(lmtp=LmtpSettings(listen=LISTEN))) == Target(host="127.0.0.1", port=8024)


def test_where_tls_is_required_over_tcp_it_is_the_first_unix_socket() -> None:
    settings = LmtpSettings(listen=LISTEN, tls_cert="/cert.pem", tls_require="tls")
    assert find_target(Settings(lmtp=settings)) == Target(path="/run/a.sock")


def test_where_there_is_none_the_refusal_says_why() -> None:
    settings = LmtpSettings(listen=LISTEN[:1], tls_cert="/cert.pem", tls_require="tls")
    assert find_target(Settings(lmtp=settings)) == Target(host="127.0.0.1", port=8024)
