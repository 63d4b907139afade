"""Who is connected, and who has fallen silent."""

from bus.peers import FORGET_S, SILENT_S, Peer, Peers
from config.names import Instance

ANN = Instance("ann:1")


def make_peer(instance: Instance = ANN, role: str = "runner", heard: float = 0.0) -> Peer:
    return Peer(
        identity=b"W" + instance.encode(), role=role, name=instance, instance=instance, pid=1, heard=heard
    )


def test_a_new_connection_takes_the_place_of_the_old() -> None:
    peers = Peers()
    peers.add(make_peer())
    new = make_peer()
    new.identity = b"Wnew"
    peers.add(new)
    assert peers.hear(b"Wann:1", 1) is None
    assert peers.hear(b"Wnew", 1) is new
    assert list(peers.by_instance) == [ANN]


def test_any_message_is_a_sign_of_life() -> None:
    peers = Peers()
    peers.add(make_peer())
    peers.hear(b"Wann:1", 5.0)
    assert peers.find_silent(5.0 + SILENT_S, ()) == []
    assert peers.find_silent(5.1 + SILENT_S, ()) == peers.of_role("runner")


def test_masters_and_people_may_be_silent_and_are_forgotten_at_last() -> None:
    peers = Peers()
    peers.add(make_peer(Instance("master:1"), "master"))
    assert peers.find_silent(SILENT_S + 1, ()) == []
    assert peers.of_role("master")
    peers.find_silent(FORGET_S + 1, ())
    assert not peers.of_role("master")


def test_who_leaves_with_empty_hands_is_not_missed() -> None:
    peers = Peers()
    peer = make_peer()
    peer.is_leaving = True
    peers.add(peer)
    assert peers.find_silent(SILENT_S + 1, {ANN}) == [peer]  # it holds something
    assert peers.find_silent(SILENT_S + 1, ()) == []
    assert not peers.by_instance


def test_what_the_dead_said_does_not_bring_them_back() -> None:
    peers = Peers()
    peers.add(make_peer())
    peers.bury(ANN)
    assert peers.is_gone(ANN)
    assert not peers.by_instance
    for number in range(1000):
        peers.bury(Instance(f"other:{number}"))
    assert not peers.is_gone(ANN)


def test_at_work_is_who_may_still_want_something_of_the_bus() -> None:
    peers = Peers()
    front, runner = Instance("front:1"), Instance("runner:1")
    for instance, role in ((front, "front"), (runner, "runner"), (Instance("master:1"), "master")):
        peers.add(make_peer(instance, role))
    assert [peer.instance for peer in peers.at_work(1.0, ())] == [front, runner]
    peers.by_instance[runner].is_leaving = True
    assert [peer.instance for peer in peers.at_work(1.0, {runner})] == [front, runner]
    assert [peer.instance for peer in peers.at_work(1.0, ())] == [front]
    assert peers.at_work(SILENT_S + 0.1, ()) == []
