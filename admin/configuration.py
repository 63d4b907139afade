"""`config`: is the configuration file good, what does it amount to, what could stand in it."""

from typing import Any

import click

from admin.command import Group, config_named, json_option, load_settings
from admin.output import say


@click.group("config", cls=Group)
def command() -> None:
    """Check and show the configuration."""


@command.command()
def check() -> None:
    """Read the configuration; a mistake is named with file, line and key, and exits 78."""
    from config.load import ConfigError, find_config, load

    file = find_config(config_named())
    settings = load(file)
    if settings.lmtp.tls_cert:
        from config.certificates import BadCertificate, make_context

        try:
            make_context(settings.lmtp)
        except BadCertificate as error:
            raise ConfigError(file, "", str(error)) from error
    say(f"{file}: good" if file else "no configuration file; the defaults are good")


@command.command()
@json_option
def show(as_json: bool) -> None:
    """Show every option as it takes effect, with absolute paths."""
    import msgspec

    settings = load_settings()
    if as_json:
        say(msgspec.json.format(msgspec.json.encode(settings)).decode())
        return
    for name, table in msgspec.to_builtins(settings).items():
        tables = (
            {f"runners.{queue}": runner for queue, runner in table.items()}
            if name == "runners"
            else {name: table}
        )
        for title, options in tables.items():
            _show_table(title, options)


def _show_table(title: str, options: dict[str, Any]) -> None:
    from config.sample import spell_toml

    say(f"[{title}]")
    for key, value in options.items():
        say(f"{key} = {spell_toml(value)}")
    click.echo()


@command.command()
def sample() -> None:
    """Print a configuration file that explains every option and changes none."""
    from config.sample import sample as write_sample

    say(write_sample().rstrip("\n"))
