"""The version numbers: how everybody who keeps a copy of list data learns that it has changed.

`version` rises with what RCPT looks at (lists, settings, addresses, members, bans), `deliveries` with what only the way out looks at.
A list carries the site's number at its last change, so a list made anew is never mistaken for the one before it; `rewritten` is the
last one at which its members were more than added to.
"""

from collections.abc import Collection

from sqlalchemy import Connection, update

from lists.store.schema import mailing_list, version

# The one statement that the front-end runs before a 5xx: on a DBAPI connection, prepared once, the same in both dialects.
READ_VERSION = "SELECT version, deliveries FROM version WHERE id = 1"


def read_version(connection: Connection) -> tuple[int, int]:
    """Return the site's two numbers."""
    row = connection.exec_driver_sql(READ_VERSION).one()
    return int(row[0]), int(row[1])


def note_change(connection: Connection, list_rows: Collection[int] = (), *, rewritten: bool = False) -> int:
    """Raise the site's version and give it to these lists; returns it. No list: something of the whole site.

    `rewritten`: somebody has left these lists or is judged otherwise, so that reading on where one stopped is not enough.
    """
    number = connection.execute(
        update(version).values(version=version.c.version + 1).returning(version.c.version)
    ).scalar_one()
    if list_rows:
        values = {"version": number, "rewritten": number} if rewritten else {"version": number}
        connection.execute(update(mailing_list).where(mailing_list.c.id.in_(list_rows)).values(values))
    return int(number)


def note_delivery_change(connection: Connection, list_row: int) -> None:
    """Say that others are to get this list's posts, which RCPT does not look at."""
    number = connection.execute(
        update(version).values(deliveries=version.c.deliveries + 1).returning(version.c.deliveries)
    ).scalar_one()
    connection.execute(update(mailing_list).where(mailing_list.c.id == list_row).values(deliveries=number))
