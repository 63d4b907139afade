"""The redo log alone: what was made durable comes back, and nothing else, whatever a power cut left of the rest."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.journal.redo import (
    BLOCK,
    MAX_RECORD,
    RecordsMissing,
    RedoLog,
    make_file,
    read_records,
)

ME, OTHER = b"m" * 16, b"o" * 16
SIZE = 64 * BLOCK


@pytest.fixture
def path(tmp_path: Path) -> Path:
    make_file(tmp_path / "log", SIZE)
    return tmp_path / "log"


def write(path: Path, *records: bytes, number: int = 0, journal: bytes = ME) -> None:
    log = RedoLog(path, journal, number)
    for record in records:
        log.append([record[:3], record[3:]])
    log.close()


def read(path: Path, number: int = 0, journal: bytes = ME) -> list[bytes]:
    return [bytes(record) for record in read_records(path, journal, number)]


def test_records_come_back_in_order(path: Path) -> None:
    records = [b"", b"one", bytes(5000), b"x" * (BLOCK - 36), b"y" * (BLOCK - 35)]
    write(path, *records)
    assert read(path) == records
    assert read(path, journal=OTHER) == []
    assert path.stat().st_size == SIZE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(block=st.integers(0, 4), old=st.binary(min_size=1, max_size=9))
def test_a_torn_record_is_dropped_and_none_before_it(path: Path, block: int, old: bytes) -> None:
    """Any block of the last record may still have what was there before."""
    kept, torn = [b"first", bytes(range(256)) * 20], b"torn" * 5000
    write(path, *kept, torn)
    data = bytearray(path.read_bytes())
    at = 3 * BLOCK + block * BLOCK  # one block and two come before it
    data[at : at + BLOCK] = (old * BLOCK)[:BLOCK]
    path.write_bytes(data)
    assert read(path) == kept


def test_a_cut_file_ends_with_the_last_whole_record(path: Path) -> None:
    write(path, b"first", bytes(5000))
    with path.open("r+b") as file:
        file.truncate(2 * BLOCK)
    assert read(path) == [b"first"]


def test_an_earlier_round_is_not_read(path: Path) -> None:
    write(path, b"1", b"2", b"3")
    log = RedoLog(path, ME, 3)
    assert read(path) == []
    log.append([b"4"])
    assert read(path, 3) == [b"4"]
    log.rewind()
    log.append([b"5"])
    log.close()
    assert read(path, 4) == [b"5"]
    assert read(path, 5) == []  # the database has all of it


def test_an_older_database_than_the_log_is_found_out(path: Path) -> None:
    write(path, b"8", number=7)
    with pytest.raises(RecordsMissing, match="begins with record 8, the database ends with 5"):
        read(path, 5)


def test_there_is_room_until_the_end_and_not_for_more(path: Path) -> None:
    log = RedoLog(path, ME, 0)
    assert log.has_room(SIZE - 36)
    assert not log.has_room(SIZE - 35)
    log.append([bytes(SIZE - BLOCK - 36)])
    assert log.has_room(BLOCK - 36)
    assert not log.has_room(BLOCK)
    log.rewind()
    assert log.octets == 0
    log.close()
    make_file(path, MAX_RECORD + BLOCK)
    log = RedoLog(path, ME, 0)
    assert log.has_room(MAX_RECORD - 36)
    assert not log.has_room(MAX_RECORD)
    log.append([bytes(MAX_RECORD - 36)])
    log.retract()  # at the last block
    log.close()


def test_what_was_taken_back_is_not_found(path: Path) -> None:
    write(path, b"kept", b"written, and then its sync said that there is no space")
    log = RedoLog(path, ME, 0)  # begins by wiping, so write the first again
    log.append([b"kept"])
    assert len(read(path)) == 2
    log.retract()
    assert read(path) == [b"kept"]
    log.append([b"next"])
    log.close()
    assert read(path) == [b"kept", b"next"]
