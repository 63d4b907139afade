"""`templates`: the texts of the mail that Postroom writes by itself, and what is wrong with a site's own ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admin.command import Group, Refused, json_option, load_settings, open_store
from admin.output import as_json as spell_json
from admin.output import say, warn, write_listing

if TYPE_CHECKING:
    from lists.model import MailingList
    from runners.texts import Texts

COLUMNS = ("name", "language", "from", "subject")
list_option = click.option("--list", "list_name", metavar="LIST", help="As this list sees it.")
language_option = click.option(
    "--language", metavar="CODE", default="", help="de, pt-BR; else the list's or the site's."
)


@click.group("templates", cls=Group)
def command() -> None:
    """See the texts of Postroom's own mail, and check yours."""


@command.command()
@list_option
@language_option
@json_option
def ls(list_name: str | None, language: str, as_json: bool) -> None:
    """List every text: its language, and the file that is used."""
    from runners.texts import template_names

    texts, mailing_list, wanted = _look(list_name, language)
    rows = [_facts(texts, name, mailing_list, wanted) for name in template_names()]
    write_listing(iter(rows), COLUMNS, json=as_json, empty="there are no texts")


@command.command()
@click.argument("name")
@list_option
@language_option
@json_option
def show(name: str, list_name: str | None, language: str, as_json: bool) -> None:
    """Show a text as it is used: a file to start your own from."""
    texts, mailing_list, wanted = _look(list_name, language)
    try:
        template = texts.find(name, mailing_list, wanted)
    except KeyError:
        raise Refused(f"there is no text {name!r} (bin/postroom templates ls shows all)") from None
    if as_json:
        facts = _facts(texts, name, mailing_list, wanted)
        say(spell_json(facts | {"body": template.body, "names": sorted(template.names())}))
        return
    warn(template.path)
    say(f"Subject: {template.subject}\n\n{template.body}".rstrip("\n"))


def _look(list_name: str | None, language: str) -> tuple[Texts, MailingList | None, str]:
    """Return the site's texts, the list that is meant and the language to look for."""
    from runners.texts import Texts

    settings = load_settings()
    notices = settings.notices
    texts = Texts(Path(notices.templates) if notices.templates else None, notices.language)
    if list_name is None:
        return texts, None, language
    with open_store(settings) as store:
        found = store.find_list(list_name)
    return texts, found, language or found.settings.preferred_language


def _facts(texts: Texts, name: str, mailing_list: MailingList | None, language: str) -> dict[str, Any]:
    template = texts.find(name, mailing_list, language)
    path = Path(template.path)
    return {"name": name, "language": path.parent.name, "from": template.path, "subject": template.subject}


@command.command()
@json_option
def check(as_json: bool) -> None:
    """Check each of your own files: that it can be read, is one that is looked for, and names what there is. Exit 1 with file and line."""
    from runners.text_check import check_folder

    folder = load_settings().notices.templates
    if not folder:
        raise Refused("[notices] templates names no folder: there are no texts of your own")
    problems = list(check_folder(Path(folder)))
    if as_json:
        say(spell_json([{"file": each.path, "line": each.line, "problem": each.text} for each in problems]))
    else:
        for each in problems:
            warn(str(each))
    if problems:
        click.get_current_context().exit(1)
    if not as_json:
        say(f"{folder}: in order")
