"""Which processes a site has."""

import pytest

from config.lmtp_settings import LmtpSettings
from config.settings import RunnerSettings, Settings
from master.plan import BUILT_IN_RUNNERS, CannotScale, check_scale, places, queues, queues_with_runner


def names(settings: Settings, **scaled: int) -> list[str]:
    return [place.name for place in places(settings, scaled)]


def test_an_empty_configuration_has_the_bus_a_front_end_and_the_built_in_runners() -> None:
    assert names(Settings()) == ["bus", "lmtp-1", *(f"{queue}-1" for queue in BUILT_IN_RUNNERS)]


def test_queues_without_a_runner_class_exist_and_have_no_process() -> None:
    settings = Settings(runners={"archive": RunnerSettings()})
    assert "archive" in queues(settings)
    assert "archive" not in queues_with_runner(settings)


def test_a_runner_of_ones_own_has_processes_and_a_table_without_class_has_none() -> None:
    settings = Settings(
        runners={
            "archive": RunnerSettings(class_="mysite.archive:Archive", processes=2, nice=7, stop_grace_s=3.0),
            "bounces": RunnerSettings(class_="mysite.bounces:Bounces"),
            "later": RunnerSettings(addresses=["-later"]),
        }
    )
    found = {place.name: place for place in places(settings, {})}
    assert {"archive-1", "archive-2", "bounces-1"} <= set(found)
    assert not [name for name in found if name.startswith("later")]
    assert (found["archive-2"].queue, found["archive-2"].nice, found["archive-2"].grace_s) == (
        "archive",
        7,
        5.0,
    )


def test_zero_processes_are_none() -> None:
    settings = Settings(lmtp=LmtpSettings(processes=0), runners={"incoming": RunnerSettings(processes=0)})
    assert names(settings) == ["bus", *(f"{queue}-1" for queue in BUILT_IN_RUNNERS if queue != "incoming")]


def test_what_was_scaled_wins_over_the_configuration() -> None:
    rest = [f"{queue}-1" for queue in BUILT_IN_RUNNERS if queue not in ("incoming", "owner")]
    assert names(Settings(), incoming=2, lmtp=0, owner=0) == ["bus", "incoming-1", "incoming-2", *rest]


@pytest.mark.parametrize(
    ("what", "number", "text"),
    [
        ("archive", 1, "has no runner class"),
        ("bus", 2, "there is no 'bus' to scale"),
        ("nosuch", 1, "there are lmtp, incoming"),
        ("incoming", 65, "0 to 64"),
        ("incoming", -1, "0 to 64"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_reason(what: str, number: int, text: str) -> None:
    with pytest.raises(CannotScale, match=text):
        check_scale(Settings(runners={"archive": RunnerSettings()}), what, number)
