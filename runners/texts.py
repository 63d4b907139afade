"""The texts of the mail that Postroom writes by itself: template files, found by list, domain, site and language.

A template is a text file NAME.txt: "Subject: ..." first, an empty line, then the body, all in UTF-8; "$list_name" and its like are filled in, "$$" is a
dollar sign. Looked for, the first that is there wins: `[notices] templates`/lists/LIST-ID/LANGUAGE, /domains/DOMAIN/LANGUAGE, /site/LANGUAGE, then the
texts that come with Postroom in that language (pt before en for pt_BR), then the same four in English. Files are read when first needed and again when they change.
A site's file that is broken is passed over with a line in the log: a typo must not stop confirmations. What a text is filled with
is notices.py's.
"""

import re
import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from lists.model import MailingList

BUILT_IN: Final = Path(__file__).parent / "templates"
DEFAULT_LANGUAGE: Final = "en"
MAX_SIZE: Final = 64 * 1024  # octets of a template file; a notice is a page of text

_LANGUAGE = re.compile(r"[a-z]{2,3}(?:_[A-Z]{2})?")
_NAME = re.compile(r"[a-z][a-z-]{0,40}")

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class BadTemplate(Exception):
    """A template file that cannot be used; str() says where and why."""


class Template(Struct, frozen=True):
    """One text, ready to be filled."""

    subject: str
    body: str
    path: str  # of the file

    def fill(self, values: Mapping[str, str]) -> tuple[str, str]:
        """Return subject and body; raises BadTemplate when the text names what there is not."""
        try:
            return string.Template(self.subject).substitute(values), string.Template(self.body).substitute(
                values
            )
        except KeyError as error:
            raise BadTemplate(f"{self.path}: there is no ${error.args[0]} for this text") from error

    def names(self) -> frozenset[str]:
        """Return every name that the text wants filled."""
        return frozenset(
            string.Template(self.subject).get_identifiers() + string.Template(self.body).get_identifiers()
        )


def read_template(text: str, path: str) -> Template:
    """Read one template; raises BadTemplate."""
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    name, colon, subject = first.partition(":")
    if not colon or name.strip().lower() != "subject" or not subject.strip():
        raise BadTemplate(f'{path}: line 1 must be "Subject: ..."')
    if not rest.startswith("\n"):
        raise BadTemplate(f"{path}: line 2 must be empty, the body follows it")
    template = Template(subject.strip(), rest.strip("\n") + "\n", path)
    for part in (template.subject, template.body):
        if not string.Template(part).is_valid():
            raise BadTemplate(f'{path}: a "$" that begins no name; write "$$" for a dollar sign')
    return template


class Texts:
    """All templates of a site. Blocking, but only when a file is new: a few hundred octets from the page cache."""

    def __init__(self, folder: Path | None, language: str = DEFAULT_LANGUAGE) -> None:
        self._folder = folder
        self.language = _spelled(language)  # of those whose own is not known
        self._read: dict[Path, tuple[int, Template | None]] = {}  # by file: its mtime_ns, and what it says

    def fill(
        self,
        name: str,
        values: Mapping[str, str],
        mailing_list: MailingList | None = None,
        language: str = "",
    ) -> tuple[str, str]:
        """Return subject and body of the nearest text that can be filled; raises KeyError for a name that does not come with Postroom.

        A text of the site's own that names what there is not is passed over too, with a line in the log; raises BadTemplate when ours does.
        """
        for template in self.candidates(name, mailing_list, language):
            try:
                return template.fill(values)
            except BadTemplate as error:
                if Path(template.path).is_relative_to(BUILT_IN):
                    raise
                log.warning("template.skipped", error=str(error))
        raise KeyError(name)

    def find(self, name: str, mailing_list: MailingList | None = None, language: str = "") -> Template:
        """Return the nearest text of this name for a list; raises KeyError for a name that does not come with Postroom."""
        for template in self.candidates(name, mailing_list, language):
            return template
        raise KeyError(name)

    def candidates(
        self, name: str, mailing_list: MailingList | None, language: str = ""
    ) -> Iterator[Template]:
        """Yield the texts of this name that can be read, the nearest first."""
        for path in self.places(name, mailing_list, language):
            template = self._look(path)
            if template is not None:
                yield template

    def places(self, name: str, mailing_list: MailingList | None, language: str = "") -> Iterator[Path]:
        """Yield where a text is looked for, first place first."""
        if not _NAME.fullmatch(name):
            raise KeyError(name)
        wanted = self.known(language)
        for each in dict.fromkeys((wanted, wanted.partition("_")[0], DEFAULT_LANGUAGE)):
            if self._folder is not None:
                if mailing_list is not None:
                    yield self._folder / "lists" / mailing_list.list_id / each / f"{name}.txt"
                    yield self._folder / "domains" / mailing_list.domain / each / f"{name}.txt"
                yield self._folder / "site" / each / f"{name}.txt"
            yield BUILT_IN / each / f"{name}.txt"

    def known(self, language: str) -> str:
        """Return a language as folders and catalogs are called, "pt_BR" for "pt-BR"; the site's for "" and for what is none."""
        return _spelled(language) if language else self.language

    def _look(self, path: Path) -> Template | None:
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return None
        known = self._read.get(path)
        if known is None or known[0] != changed:
            known = self._read[path] = (changed, _load(path))
        return known[1]


def _spelled(language: str) -> str:
    head, _, country = language.replace("-", "_").partition("_")
    spelled = f"{head.lower()}_{country.upper()}" if country else head.lower()
    return spelled if _LANGUAGE.fullmatch(spelled) else DEFAULT_LANGUAGE


def _load(path: Path) -> Template | None:
    try:
        return load_template(path)
    except BadTemplate as error:
        log.warning("template.skipped", error=str(error))
        return None


def load_template(path: Path) -> Template:
    """Read a template file; raises BadTemplate."""
    try:
        with path.open("rb") as file:
            octets = file.read(MAX_SIZE + 1)
        if len(octets) > MAX_SIZE:
            raise BadTemplate(f"{path}: larger than {MAX_SIZE} octets")
        return read_template(octets.decode(), str(path))
    except OSError as error:
        raise BadTemplate(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadTemplate(f"{path}: is not UTF-8 at octet {error.start}") from error


def template_names() -> tuple[str, ...]:
    """Return the names of all texts there are, sorted."""
    return tuple(sorted(path.stem for path in (BUILT_IN / DEFAULT_LANGUAGE).glob("*.txt")))
