"""What is struck out as absent is absent, whatever was saved before and in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from bus.journal import absence
from bus.journal.absence import Absence, first_timed
from bus.journal.batch import Changes, Seen, Wanted
from config.names import ItemId, id_about, new_item_id
from tests.unit.journal.builders import NOW_MS

times = st.integers(0, 2**48 - 1) | st.integers(NOW_MS - 5, NOW_MS + 5)
item_ids = times.map(new_item_id) | st.integers(0, 999).map(lambda number: id_about(str(number)))
keys = st.binary(min_size=1, max_size=2)


@given(st.lists(st.lists(item_ids)), st.lists(item_ids))
def test_no_id_that_was_saved_is_struck_out(batches: list[list[ItemId]], first: list[ItemId]) -> None:
    known = Absence(first_timed(sorted(first, reverse=True)), ())
    saved = set(first)
    for ids in batches:
        known.add(Changes(seen={item_id: Seen(item_id, NOW_MS) for item_id in ids}))
        saved.update(ids)
        want = Wanted(ids=set(saved), published=set(saved))
        known.narrow(want)
        assert want.ids == want.published == saved


def test_a_new_mail_is_not_asked_about() -> None:
    known = Absence(new_item_id(NOW_MS), ())
    known.add(Changes(seen={id_about("ff"): Seen(id_about("ff"), NOW_MS)}))
    item_id = new_item_id(NOW_MS + 1)
    want = Wanted(ids={item_id}, published={item_id}, keys={b"key"})
    known.narrow(want)
    assert (want.ids, want.published, want.keys) == (set(), set(), set())


@given(st.sets(keys), st.lists(st.tuples(keys, st.booleans())))
def test_of_the_keys_those_stay_that_are_saved(first: set[bytes], saves: list[tuple[bytes, bool]]) -> None:
    known, here = Absence(ItemId(""), first), set(first)
    for key, is_kept in saves:
        known.add(Changes(unreplied={key: (id_about("x"), NOW_MS) if is_kept else None}))
        (here.add if is_kept else here.discard)(key)
    every = {bytes([a]) for a in range(256)} | here
    want = Wanted(keys=set(every))
    known.narrow(want)
    assert want.keys == here


def test_too_many_keys_are_all_asked_about() -> None:
    many = [number.to_bytes(3) for number in range(absence.MOST_KEYS)]
    known = Absence(ItemId(""), many)
    known.add(Changes(unreplied={b"one more": (id_about("x"), NOW_MS)}))
    want = Wanted(keys={b"never heard of"})
    known.narrow(want)
    assert want.keys == {b"never heard of"}
