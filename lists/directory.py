"""The answers about lists that a front-end and a runner give from memory.

It trusts what the store says and asks it rarely: `refresh` reads one row and then only what moved; `is_current` is one prepared
statement, asked before any 5xx. load, refresh, is_current and audience block and belong to a worker thread; judge and its like only
read the snapshot, which is swapped in by one assignment, and belong to the loop; so do glance and known_audience, which wait for nobody.
100,000 members take about 12 MB.
"""

from datetime import date
from pathlib import Path

from config.clock import Clock
from config.names import ListId
from config.settings import Settings
from lists import policy, rules
from lists.address import Destination, Suffixes
from lists.audience import Audience
from lists.model import MailingList
from lists.policy import ListPolicy, Refused, Taken, TokenCheck
from lists.posts import Post
from lists.rules import Finding, Rule, Verdict
from lists.secret import load_site_key
from lists.snapshot import Snapshot, empty_snapshot, next_snapshot
from lists.store import Store
from lists.store.audience import read_audience
from lists.store.probe import VersionProbe
from lists.store.rolls import Mark

FRONT_TIMEOUT_S = 2.0  # what the front-end waits for a lock; then 451
KEPT = 2000  # answers to RCPT that are known without judging again: 0.5 MiB, 2 MiB of the longest addresses


class Directory:
    """One site's lists, in memory."""

    def __init__(self, settings: Settings, busy_timeout_s: float = FRONT_TIMEOUT_S) -> None:
        self._settings = settings
        self._store = Store(settings, busy_timeout_s)
        self._probe = VersionProbe(self._store.engine)
        self._clock = Clock(Path(settings.site.clock_file) if settings.site.clock_file else None)
        until = settings.lists.mailman_tokens_until
        self._old_tokens_until = date.fromisoformat(until) if until else None
        self._snapshot: Snapshot = empty_snapshot(Suffixes.from_settings(settings))
        self._audiences: dict[ListId, tuple[Mark, Audience]] = {}
        self._answers: dict[tuple[str, str], Taken] = {}  # to (reverse-path, recipient), by one snapshot
        self._answered_by = self._snapshot
        self._rules: dict[ListId, tuple[ListPolicy, tuple[Rule, ...]]] = {}  # of the lists that had posts

    def close(self) -> None:
        """Close every connection."""
        self._probe.close()
        self._store.close()

    # In a worker thread -----------------------------------------------------------------------------------------------

    def load(self) -> None:
        """Read everything, after the schema was made or migrated where needed; raises StoreAway, StoreTooNew, BadSecret."""
        self._store.open()
        if self._snapshot.view.tokens is None:
            tokens = TokenCheck(load_site_key(self._settings), self._old_tokens_until)
            self._snapshot = empty_snapshot(self._snapshot.view.suffixes, tokens)
        self.refresh()

    def refresh(self) -> bool:
        """Bring the snapshot up to date; True: something had moved. Raises StoreAway, and the old snapshot stays."""
        old = self._snapshot
        version = self._probe.read()
        if version == old.version:
            return False
        self._snapshot = next_snapshot(self._store, self._settings, old, version)
        self._rules = {}  # 3 us a list to find again; what is gone does not stay
        for list_id in self._audiences.keys() - self._snapshot.marks.keys():
            self._audiences.pop(list_id, None)
        return True

    def is_current(self) -> bool:
        """Is what RCPT looks at as the store has it? Raises StoreAway."""
        return self._probe.read()[0] == self._snapshot.version[0]

    def audience(self, list_id: ListId) -> Audience:
        """Return who gets this list's posts, in order of key; an empty one for a list that is not there.

        From memory, unless the list has moved since it was last asked for (then 2 ms for 1,000 members): as of the last refresh.
        """
        mark = self._snapshot.marks.get(list_id)
        if mark is None:
            return Audience()
        cached = self._audiences.get(list_id)
        if cached is None or cached[0] != mark:
            cached = mark, read_audience(self._store.engine, mark.row)
            self._audiences[list_id] = cached
        return cached[1]

    def recipients(self, list_id: ListId) -> tuple[str, ...]:
        """Return the addresses of `audience`."""
        return self.audience(list_id).addresses

    # At once ----------------------------------------------------------------------------------------------------------

    def glance(self) -> bool:
        """Is everything as the store has it, members' delivery too? False: it is not, or that cannot be said without waiting; `refresh` tells."""
        return self._probe.glance() == self._snapshot.version

    def known_audience(self, list_id: ListId) -> Audience | None:
        """Return `audience` where memory has it as of the last refresh, None where it must be read."""
        mark = self._snapshot.marks.get(list_id)
        cached = self._audiences.get(list_id)
        return cached[1] if cached is not None and mark is not None and cached[0] == mark else None

    # From memory ------------------------------------------------------------------------------------------------------

    def judge(self, reverse_path: str, recipient: str) -> Taken | Refused:
        """Answer RCPT; before a 5xx is said, `is_current` must say so.

        That a post is taken follows from the snapshot alone, so a callout and the mail after it, or the next mail of the same sender, are judged
        once (0.5 us in place of 5). Refusals are not kept: an attacker chooses how many there are.
        """
        snapshot = self._snapshot
        if self._answered_by is not snapshot or len(self._answers) >= KEPT:
            self._answers = {}
            self._answered_by = snapshot
        known = self._answers.get((reverse_path, recipient))
        if known is not None:
            return known
        today = self._clock.now().date() if self._old_tokens_until else None
        answer = policy.judge_recipient(reverse_path, recipient, snapshot.view, today)
        if isinstance(answer, Taken) and answer.destination.purpose == "post":
            self._answers[reverse_path, recipient] = answer
        return answer

    def judge_data(self, destination: Destination, post: Post, *, is_report: bool = False) -> Taken | Refused:
        """Answer the final dot for one recipient; see rules.judge_data. Before a 5xx is said, `is_current` must say so."""
        return rules.judge_data(destination, post, self._snapshot.view, is_report=is_report)

    def judge_post(self, list_id: ListId, post: Post) -> Verdict | None:
        """Say what becomes of a post; None: the list is not there any more."""
        found = self._snapshot.view.policies.get(list_id)
        if found is None:
            return None
        known = self._rules.get(list_id)
        if known is None or known[0] is not found:
            known = self._rules[list_id] = found, rules.rules_for(found)
        return rules.judge_post(post, found, known[1])

    def judge_owner_mail(self, list_id: ListId, post: Post) -> Verdict | None:
        """Return why mail to the owners of a list is refused or dropped, None when it goes on to them."""
        found = self._snapshot.view.policies.get(list_id)
        return None if found is None else rules.judge_owner_mail(post, found)

    def explain_post(self, list_id: ListId, post: Post) -> tuple[Finding, ...]:
        """Return what each rule says about a post, in order; nothing for a list that is not there."""
        found = self._snapshot.view.policies.get(list_id)
        return () if found is None else rules.explain_post(post, found)

    def mailing_list(self, list_id: ListId) -> MailingList | None:
        """Return a list and its settings; None: it is not there."""
        found = self._snapshot.view.policies.get(list_id)
        return None if found is None else found.mailing_list

    def lists(self) -> tuple[MailingList, ...]:
        """Return every list."""
        return tuple(found.mailing_list for found in self._snapshot.view.policies.values())

    def is_ours(self, address: str) -> bool:
        """Would we take mail to this address? Owner mail must not go there; any other mailbox of our domain is somebody's."""
        return isinstance(self.judge("", address), Taken)

    @property
    def suffixes(self) -> Suffixes:
        """The address table of this site."""
        return self._snapshot.view.suffixes
