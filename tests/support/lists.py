"""Builders for the mailing-list domain: settings of a site in a folder, policies, posts, and a helper process on a real store."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from config.settings import ListsSettings, RunnerSettings, Settings, SiteSettings, encode
from lists.address import DEFAULT_SUFFIXES, Names, Suffixes
from lists.header_patterns import read_header_patterns
from lists.mailbox import address_key
from lists.model import ListSettings, MailingList
from lists.options import change_settings
from lists.patterns import Patterns
from lists.policy import ListPolicy, View
from lists.posts import Post

ROOT = Path(__file__).resolve().parents[2]


def make_settings(
    folder: Path,
    *,
    domains: Iterable[str] = (),
    delimiter: str = "+",
    addresses: Mapping[str, Iterable[str]] | None = None,
    clock_file: Path | None = None,
) -> Settings:
    """Make the settings of a site whose store is in `folder`; `addresses` are those of `[runners.*]`."""
    return Settings(
        site=SiteSettings(
            var=str(folder),
            run=str(folder),
            domains=list(domains),
            delimiter=delimiter,
            clock_file=str(clock_file or ""),
        ),
        lists=ListsSettings(store=f"sqlite:///{folder}/lists.db"),
        runners={queue: RunnerSettings(addresses=list(each)) for queue, each in (addresses or {}).items()},
    )


def make_list(address: str = "ant@example.org", *options: str) -> MailingList:
    """Make a list with KEY=VALUE options."""
    return MailingList.at(address, change_settings(ListSettings(), options))


def make_policy(
    *options: str,
    address: str = "ant@example.org",
    members: Iterable[str] = (),
    member_actions: Mapping[str, str] | None = None,
    nonmember_actions: Mapping[str, str] | None = None,
    bans: Iterable[str] = (),
    site_bans: Iterable[str] = (),
) -> ListPolicy:
    """Make what the verdicts about one list look at."""
    mailing_list = make_list(address, *options)
    return ListPolicy(
        mailing_list=mailing_list,
        members={address_key(member) for member in members},
        member_actions=member_actions or {},
        nonmember_actions=nonmember_actions or {},
        allowed=Patterns.of(mailing_list.settings.accept_these_nonmembers),
        bans=Patterns.of(bans),
        site_bans=Patterns.of(site_bans),
        header_patterns=read_header_patterns(mailing_list.settings.header_matches),
        aliases=Patterns.of(mailing_list.settings.acceptable_aliases),
    )


def make_view(
    *policies: ListPolicy, domains: Iterable[str] = (), suffixes: Suffixes = DEFAULT_SUFFIXES
) -> View:
    """Make a site of these lists."""
    by_id = {policy.mailing_list.list_id: policy for policy in policies}
    names = Names.of({policy.mailing_list.address: list_id for list_id, policy in by_id.items()}, domains)
    return View(names, suffixes, by_id)


def make_post(reverse_path: str = "anne@example.net", *lines: str, body: str = "x") -> Post:
    """Make a post with these header lines."""
    return Post(reverse_path, "\r\n".join((*lines, "", body, "")).encode())


def start_script(
    folder: Path, settings: Settings, script: str, failpoints: str = ""
) -> subprocess.Popen[str]:
    """Start another process that has `settings` and runs `script`; its stdin and stdout are pipes."""
    file = folder / "settings.json"
    file.write_bytes(encode(settings))
    head = (
        "import sys; from pathlib import Path; from config.settings import decode; from lists.store import Store\n"
        f"settings = decode(Path({str(file)!r}).read_bytes())\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", head + script],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "POSTROOM_FAILPOINTS": failpoints},
    )
