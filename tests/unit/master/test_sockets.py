"""Sockets that children inherit: modes, stale ones, and names in messages."""

import os
import socket
import stat
from pathlib import Path

import pytest

from config.lmtp_settings import LmtpSettings
from master.sockets import BadListen, CannotListen, find_group, listen_all, listen_unix


def test_a_client_that_comes_before_a_front_end_waits_in_the_backlog(tmp_path: Path) -> None:
    (listening,) = listen_all(LmtpSettings(listen=["127.0.0.1:0"]))
    host, _, port = listening.name.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=2):
        pass
    listening.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=2)


def test_a_port_in_use_is_named_and_nothing_stays_open(tmp_path: Path) -> None:
    (first,) = listen_all(LmtpSettings(listen=["127.0.0.1:0"]))
    path = tmp_path / "s"
    with pytest.raises(CannotListen, match=f"{first.name}: in use by another process"):
        listen_all(LmtpSettings(listen=[f"unix:{path}", first.name]))
    assert not path.exists()
    first.close()


def test_a_unix_socket_gets_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        (listening,) = listen_all(LmtpSettings(listen=[f"unix:{tmp_path}/s"], socket_mode="0666"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o666
    listening.close()
    assert not (tmp_path / "s").exists()


def test_the_socket_of_a_dead_process_is_replaced_and_a_live_one_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    dead = listen_unix(path, 0o600)
    dead.socket.close()
    assert path.exists()
    live = listen_unix(path, 0o600)
    with pytest.raises(CannotListen, match="in use"):
        listen_unix(path, 0o600)
    live.close()


def test_a_live_socket_with_a_full_backlog_is_still_in_use(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as waiting:
        live.bind(str(path))
        live.listen(0)
        waiting.connect(str(path))
        with pytest.raises(CannotListen, match="in use"):
            listen_unix(path, 0o600)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(CannotListen, match="is no socket"):
        listen_unix(tmp_path / "s", 0o600)
    assert (tmp_path / "s").read_text() == "mine"


def test_a_path_that_the_kernel_would_cut_is_bad_configuration(tmp_path: Path) -> None:
    with pytest.raises(BadListen, match="100 octets"):
        listen_unix(tmp_path / ("x" * 101), 0o600)


def test_an_unknown_group_is_bad_configuration() -> None:
    assert find_group("") is None
    with pytest.raises(BadListen, match="no group 'nosuchgroup'"):
        find_group("nosuchgroup")


def test_ipv6_is_spelled_as_in_the_configuration() -> None:
    try:
        (listening,) = listen_all(LmtpSettings(listen=["[::1]:0"]))
    except CannotListen:
        pytest.skip("no IPv6 here")
    assert listening.name.startswith("[::1]:")
    listening.close()
