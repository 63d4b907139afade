"""The configuration file: what is accepted, what is refused, and how clearly."""

import os
import tomllib
from pathlib import Path

import msgspec
import pytest

from config.load import ConfigError, find_config, load
from config.sample import sample
from config.settings import Settings, decode, encode


def write(folder: Path, text: str) -> Path:
    file = folder / "postroom.toml"
    file.write_text(text, "utf-8")
    return file


def refusal(folder: Path, text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(write(folder, text))
    return caught.value


def test_an_empty_file_is_a_valid_configuration(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))
    assert settings.site.var == str(tmp_path / "var")
    assert settings.lmtp.listen == ["127.0.0.1:8024", f"unix:{tmp_path}/var/run/lmtp.sock"]
    assert settings.bus.journal == f"sqlite:///{tmp_path}/var/journal.db"


def test_relative_paths_are_relative_to_the_file_and_absolute_ones_stay(tmp_path: Path) -> None:
    text = '[outgoing]\nmaildir = "mail"\n[lists]\nstore = "sqlite:////srv/l.db"\n[site]\nclock_file = "../clock"\npython_path = ["lib"]\n'
    settings = load(write(tmp_path, text))
    assert settings.outgoing.maildir == f"{tmp_path}/mail"
    assert settings.lists.store == "sqlite:////srv/l.db"
    assert settings.site.clock_file == str(tmp_path.parent / "clock")
    assert settings.site.python_path == [str(tmp_path), f"{tmp_path}/lib"]


def test_what_is_not_placed_elsewhere_follows_var(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[site]\nvar = "/srv/p"\n[lists]\nstore = "sqlite:///var/lists.db"\n'))
    assert settings.site.run == "/srv/p/run"
    assert settings.bus.journal == "sqlite:////srv/p/journal.db"
    assert settings.lists.store == f"sqlite:///{tmp_path}/var/lists.db"
    assert settings.lmtp.listen[1] == "unix:/srv/p/run/lmtp.sock"
    assert settings.logs.file == "/srv/p/log/postroom.jsonl"


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("\n[lmtp]\nmax_sise = 3\n", 3, "[lmtp] max_sise", "did you mean max_size?"),
        ('[lmtp]\nmax_size = "x"\n', 2, "[lmtp] max_size", "expected `int`"),
        ("[lmtp\n", 1, "", "not TOML"),
        ("[site]\na = 1\na = 2\n", 3, "", "not TOML"),
        ("[lmpt]\n", 1, "[lmpt]", "did you mean lmtp?"),
        ("lmtp.max_size = -1\n", 1, "[lmtp] max_size", ">= 1"),
        ("lmtp = 3\n", 1, "[lmtp]", "expected `object`"),
        ("[runners.incomin]\nprocesses = 2\n", 1, "[runners] incomin", "did you mean incoming?"),
        (
            "[runners.owner]\n[runners.incoming]\nprocesses = 200\n",
            3,
            "[runners.incoming] processes",
            "<= 64",
        ),
        ('[runners.a]\nclas = "x:Y"\n', 2, "[runners.a] clas", "did you mean class?"),
        ('[runners.a]\nclass = "x.Y"\n', 2, "[runners.a] class", "no module:Class"),
        ('[runners.a]\nclass = "x:Y"\naddresses = ["arch"]\n', 3, "[runners.a] addresses", "no suffix"),
        ('[runners.lmtp]\nclass = "x:Y"\n', 1, "[runners] lmtp", "process of ours"),
        ('[outgoing]\nsmtp = "mx"\n', 2, "[outgoing] smtp", "no host:port"),
        ('[lmtp]\nlisten = ["127.0.0.1:25"]\n', 2, "[lmtp] listen", "RFC 2033"),
        (f'[lmtp]\nlisten = ["unix:/{"a" * 100}"]\n', 2, "[lmtp] listen", "101 octets"),
        (f'[site]\nrun = "/{"a" * 95}"\n', 2, "[site] run", "shorter"),
        ('[lmtp]\ntrusted = ["10.0.0.1/8"]\n', 2, "[lmtp] trusted", "host bits"),
        ('[lmtp]\ntrusted = ["user:no-such-user"]\n', 2, "[lmtp] trusted", "no such user"),
        ('[lmtp]\ntls_key = "k.pem"\n', 2, "[lmtp] tls_key", "needs tls_cert"),
        ('[lmtp]\ntls_require = "tls"\n', 2, "[lmtp] tls_require", "needs tls_cert"),
        (
            '[lmtp]\ntls_cert = "c.pem"\ntls_require = "certificate"\n',
            3,
            "[lmtp] tls_require",
            "needs tls_client_ca",
        ),
        ('[lmtp]\nxforward = ["trusted", "mx"]\n', 2, "[lmtp] xforward", "a network"),
        ('[lmtp]\nlisten = ["mx:025"]\n', 2, "[lmtp] listen", "never for LMTP"),
        ('[bus]\njournal = "postgresql://x/y"\n', 2, "[bus] journal", "no sqlite:///path"),
        ('[site]\ndomain_aliases = {"a b" = "c.d"}\n', 2, "[site] domain_aliases", "no domain"),
        (
            '[site]\ndomain_aliases = {"a.x" = "b.x", "b.x" = "c.x"}\n',
            2,
            "[site] domain_aliases",
            "alias itself",
        ),
        (
            '[site]\ndomains = ["a.x"]\ndomain_aliases = {"a.x" = "b.x"}\n',
            3,
            "[site] domain_aliases",
            "one or the other",
        ),
        (
            '[site]\ndomains = ["a.x"]\ndomain_aliases = {"b.x" = "c.x"}\n',
            3,
            "[site] domain_aliases",
            "not in [site] domains",
        ),
        ('[site]\nmailboxes = ["a@b"]\n', 2, "[site] mailboxes", "without the @"),
        ('[lists]\nmailman_tokens_until = "soon"\n', 2, "[lists] mailman_tokens_until", "2027-05-31"),
        ('[site]\ndelimiter = "x"\n', 2, "[site] delimiter", "cannot be one"),
        ('[monitor]\nlisten = "127.0.0.1:1"\n', 2, "[monitor] listen", "length <= 0"),
    ],
)
def test_an_error_names_file_line_key_and_what_to_write(
    tmp_path: Path, text: str, line: int, key: str, words: str
) -> None:
    error = refusal(tmp_path, text)
    assert str(error).startswith(f"{tmp_path}/postroom.toml:{line}: {key}")
    assert words in str(error)
    assert error.line == line


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "postroom.toml"
    file.write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(file)


def test_the_sample_documents_every_option_and_changes_none(tmp_path: Path) -> None:
    text = sample()
    assert load(write(tmp_path, text)) == load(write(tmp_path, "[runners.incoming]\n"))
    uncommented = tomllib.loads(
        "\n".join(line.removeprefix("#") for line in text.splitlines() if not line.startswith("# "))
    )
    uncommented["runners"] = {}
    assert msgspec.convert(uncommented, Settings) == Settings()
    for field in msgspec.structs.fields(Settings):
        assert f"[{field.name}" in text


def test_settings_reach_the_children_unchanged(tmp_path: Path) -> None:
    settings = load(write(tmp_path, '[runners.archive]\nclass = "a:B"\naddresses = ["-archive+*"]\n'))
    assert decode(encode(settings)) == settings


def test_the_first_place_that_has_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POSTROOM_CONFIG", raising=False)
    here = write(tmp_path, "")
    other = tmp_path / "other.toml"
    other.write_text("")
    assert find_config(None) == here
    monkeypatch.setenv("POSTROOM_CONFIG", "other.toml")
    assert find_config(None) == other
    assert find_config(str(here)) == here


def test_a_file_that_somebody_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="named by --config"):
        find_config("nowhere.toml")
    monkeypatch.setenv("POSTROOM_CONFIG", os.devnull)
    with pytest.raises(ConfigError, match="named by POSTROOM_CONFIG"):
        find_config(None)
