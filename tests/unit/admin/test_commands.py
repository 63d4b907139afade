"""What is true of every command of bin/postroom."""

from collections.abc import Iterator

import click

from admin.main import cli


def commands(group: click.Group, name: str = "postroom") -> Iterator[tuple[str, click.Command]]:
    """Yield every command that is no group, with its full name."""
    with click.Context(group) as context:
        for word in group.list_commands(context):
            found = group.get_command(context, word)
            assert found is not None
            if isinstance(found, click.Group):
                yield from commands(found, f"{name} {word}")
            else:
                yield f"{name} {word}", found


def test_config_may_stand_behind_every_command() -> None:
    """So that a script can add it at the end, whatever the command."""
    found = dict(commands(cli))
    assert len(found) >= 30
    without = [
        name
        for name, each in found.items()
        if "--config" not in [option for parameter in each.params for option in parameter.opts]
    ]
    assert without == []
