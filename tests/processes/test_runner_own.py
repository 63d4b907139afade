"""Runners of a site's own, through real processes: the example of the documentation, and what goes wrong with others."""

import re
import tomllib
from pathlib import Path

import pytest

from config.names import EX_CONFIG
from tests.support.bus_process import CHECKOUT, wait_until
from tests.support.runners import make_site, wait_for_number

pytestmark = pytest.mark.slow

PAGE = (CHECKOUT / "docs" / "runners.md").read_text()


def block(language: str) -> str:
    """Return the first code block of the page in this language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def source() -> str:
    return "import asyncio, os, time\nfrom runners import Ack, Output, Retry, Runner, Shunt\n\nclass Mine(Runner):\n    async def handle(self, item, content):\n"


def test_the_example_of_the_documentation_archives_a_mail(tmp_path: Path) -> None:
    source = block("python")
    assert len(source.splitlines()) <= 15
    tables = tomllib.loads(block("toml"))["runners"]
    with make_site(tmp_path, source, **tables) as site:
        site.start("archive")
        item = site.post(
            "ant-archive@example.org", b"Subject: x\r\n\r\nbody\r\n", "archive", list_id="ant.example.org"
        )
        site.wait_empty("archive")
        file = tmp_path / "archive" / "ant.example.org" / f"{item.id}.eml"
        assert file.read_bytes() == b"Subject: x\r\n\r\nbody\r\n"
        assert site.bus.queue("archive")["done"] == 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("mysite:Nobody", "has no Nobody"),
        ("nowhere:Mine", "cannot be imported: ModuleNotFoundError"),
        ("mysite", "module:Class"),
        ("mysite:os", "no subclass of runners.Runner"),
        ("", "class is missing"),
    ],
)
def test_a_class_that_cannot_run_ends_with_78_and_names_the_key(
    tmp_path: Path, source: str, name: str, told: str
) -> None:
    with make_site(tmp_path, source + "        return Ack()\n", mine={"class": name}) as site:
        runner = site.start("mine", ready=False)
        assert site.reap(runner) == EX_CONFIG
        text = runner.errors.read_text()
        assert "[runners.mine] class" in text
        assert told in text
        assert "Traceback" not in text


def test_a_suffix_that_cannot_be_an_address_ends_the_runner_that_reads_it_with_78(
    tmp_path: Path, source: str
) -> None:
    table = {"class": "mysite:Mine", "addresses": ["archive"]}
    with make_site(tmp_path, source + "        return Ack()\n", mine=table) as site:
        runner = site.start("incoming", ready=False)
        assert site.reap(runner) == EX_CONFIG
        assert "[runners.mine] addresses" in runner.errors.read_text()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ("return Ack(outputs=[Output('nowhere')])", "no such queue"),
        ("return Ack(outputs=[Output('outgoing', recipient='a@b\\r\\nRCPT TO:<c@d>')])", "line end"),
        ("return Ack(outputs=[Output('outgoing')])", "has no recipient"),
        (
            "return Ack(outputs=[Output('outgoing', recipient='a@b', args={'x': object()})])",
            "cannot be encoded",
        ),
        ("return Ack(outputs=[Output('mine', recipient=str(i)) for i in range(101)])", "at most 100"),
        ("return None", "handle returned NoneType"),
    ],
)
def test_a_bad_output_is_set_aside_and_says_what_is_wrong(
    tmp_path: Path, source: str, body: str, detail: str
) -> None:
    with make_site(tmp_path, f"{source}        {body}\n", mine={"class": "mysite:Mine"}) as site:
        site.start("mine")
        site.post("ant@example.org", b"x", "mine")
        (shunt,) = wait_until(site.shunts)
        assert shunt["reason"] == "bad-output"
        assert detail in shunt["detail"]


def test_an_item_that_kills_its_runner_is_set_aside_and_the_others_go_on(tmp_path: Path, source: str) -> None:
    body = "        if content == b'poison':\n            os._exit(9)\n        return Ack()\n"
    with make_site(tmp_path, source + body, mine={"class": "mysite:Mine"}) as site:
        poison = site.post("bad@example.org", b"poison", "mine")
        for number in range(5):
            site.post(f"good{number}@example.org", b"good", "mine")
        for _ in range(site.settings.bus.crashes_before_shunt):
            assert site.reap(site.start("mine")) == 9
        site.start("mine")
        site.wait_empty("mine")
        (shunt,) = site.shunts()
        assert shunt["item_id"] == poison.id
        assert site.bus.queue("mine")["done"] == 5


def test_an_item_that_raises_is_tried_five_times_then_set_aside(tmp_path: Path, source: str) -> None:
    with make_site(
        tmp_path, source + "        raise ValueError('no good')\n", mine={"class": "mysite:Mine"}
    ) as site:
        site.start("mine")
        site.post("ant@example.org", b"x", "mine")
        for number in range(1, 5):
            wait_until(lambda: site.bus.queue("mine")["deferred"])
            assert len(site.lines("item.failed")) == number
            (tmp_path / "clock").write_text(str(number * 7200))
            wait_for_number(lambda: len(site.lines("item.failed")), number + 1)
        (shunt,) = wait_until(site.shunts)
        assert "no good" in shunt["detail"] + shunt["reason"]
        failed = site.lines("item.failed")
        assert len(failed) == 5
        assert all("locals" not in str(line["exception"]) for line in failed)


def test_a_handler_that_works_in_a_thread_beats_and_one_over_its_time_ends_with_75(
    tmp_path: Path, source: str
) -> None:
    body = "        await asyncio.to_thread(time.sleep, 60)\n"
    table = {"class": "mysite:Mine", "max_runtime_s": 1.0}
    with make_site(tmp_path, source + body, mine=table) as site:
        runner = site.start("mine")
        site.post("ant@example.org", b"x", "mine")
        assert site.reap(runner) == 75
        (failed,) = site.lines("item.failed")
        assert "not done after 1 s" in failed["error"]


def test_at_a_stop_what_is_in_hand_is_finished(tmp_path: Path, source: str) -> None:
    body = "        await asyncio.sleep(1)\n        return Ack()\n"
    with make_site(tmp_path, source + body, mine={"class": "mysite:Mine"}) as site:
        runner = site.start("mine")
        site.post("ant@example.org", b"x", "mine")
        wait_until(lambda: site.bus.queue("mine")["leased"])
        assert site.stop(runner) == 0
        assert site.bus.queue("mine")["done"] == 1


def test_what_does_not_end_in_its_grace_is_given_back_without_blame(tmp_path: Path, source: str) -> None:
    body = "        await asyncio.to_thread(time.sleep, 60)\n"
    table = {"class": "mysite:Mine", "stop_grace_s": 0.5}
    with make_site(tmp_path, source + body, mine=table) as site:
        runner = site.start("mine")
        item = site.post("ant@example.org", b"x", "mine")
        wait_until(lambda: site.bus.queue("mine")["leased"])
        assert site.stop(runner) == 0
        wait_until(lambda: site.bus.queue("mine")["ready"] == 1)
        (found,) = site.bus.ask("find", id=item.id)
        assert found["attempts"] == 0
