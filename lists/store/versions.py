"""The version numbers: how everybody who keeps a copy of list data learns that it has changed.

`version` rises with what RCPT looks at (lists, settings, addresses, members, bans), `deliveries` with what only the way out looks at.
A list carries the site's number at its last change, so a list made anew is never mistaken for the one before it; `rewritten` is the
last one at which its members were more than added to.
"""

from collections.abc import Collection

from sqlalchemy import Connection, bindparam, update

from lists.store.schema import mailing_list, version

# The one statement that the front-end runs before a 5xx: on a DBAPI connection, prepared once, the same in both dialects.
READ_VERSION = "SELECT version, deliveries FROM version WHERE id = 1"

_RAISE = update(version).values(version=version.c.version + 1).returning(version.c.version)
_RAISE_DELIVERIES = (
    update(version).values(deliveries=version.c.deliveries + 1).returning(version.c.deliveries)
)
_OF_LISTS = update(mailing_list).where(mailing_list.c.id.in_(bindparam("rows", expanding=True)))
_CHANGED = _OF_LISTS.values(version=bindparam("number"))
_REWRITTEN = _OF_LISTS.values(version=bindparam("number"), rewritten=bindparam("number"))
_DELIVERIES = _OF_LISTS.values(deliveries=bindparam("number"))


def read_version(connection: Connection) -> tuple[int, int]:
    """Return the site's two numbers."""
    row = connection.exec_driver_sql(READ_VERSION).one()
    return int(row[0]), int(row[1])


def note_change(connection: Connection, list_rows: Collection[int] = (), *, rewritten: bool = False) -> int:
    """Raise the site's version and give it to these lists; returns it. No list: something of the whole site.

    `rewritten`: somebody has left these lists or is judged otherwise, so that reading on where one stopped is not enough.
    """
    number = int(connection.execute(_RAISE).scalar_one())
    if list_rows:
        changed = {"rows": list(list_rows), "number": number}
        connection.execute(_REWRITTEN if rewritten else _CHANGED, changed)
    return number


def note_delivery_change(connection: Connection, list_row: int) -> None:
    """Say that others are to get this list's posts, which RCPT does not look at."""
    number = connection.execute(_RAISE_DELIVERIES).scalar_one()
    connection.execute(_DELIVERIES, {"rows": [list_row], "number": number})
