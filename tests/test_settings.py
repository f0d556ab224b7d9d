"""What a node process is told, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.settings import Address, SettingsError, from_arguments

SECRET = "a secret of enough length"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_SECRET", SECRET)
    monkeypatch.delenv("QUORATE_TOKEN", raising=False)


def test_a_first_node_needs_no_seed(tmp_path: Path) -> None:
    settings = from_arguments(["--data-dir", str(tmp_path), "--found"])
    assert settings.found
    assert settings.secret == SECRET
    assert str(settings.listen) == "127.0.0.1:7400"


def test_a_seed_without_a_port_gets_the_default_one(tmp_path: Path) -> None:
    settings = from_arguments(["--data-dir", str(tmp_path), "--join", "seed", "--join", "[::1]:9"])
    assert settings.seeds == ("seed:7400", "[::1]:9")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "nobody to join"),
        (["--found", "--door", "0.0.0.0:80"], "without a token"),
        (["--found", "--listen", "host:port"], "is no address"),
        (["--found", "--listen", "host:99999"], "is no address"),
        (["--found", "--listen", "0.0.0.0:7400"], "give --advertise"),
        (["--found", "--slots", "0"], "at least 1"),
        (["--found", "--name", ""], "printable"),
        (["--found", "--secret-file", "/nonexistent/secret"], "cannot be read"),
        (["--found", "--speed", "0"], "--speed"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        from_arguments(["--data-dir", str(tmp_path), *arguments])
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_secret_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_SECRET", "short")
    with pytest.raises(SettingsError, match="QUORATE_SECRET"):
        from_arguments(["--data-dir", str(tmp_path), "--found"])


def test_a_token_opens_the_door_to_other_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_TOKEN", "let me in")
    settings = from_arguments(["--data-dir", str(tmp_path), "--found", "--door", "0.0.0.0:80"])
    assert settings.token == "let me in"


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8:1", True),
        ("localhost", True),
        ("[::1]:1", True),
        ("0.0.0.0", False),
        ("example", False),
        ("10.0.0.1", False),
        ("[::]:1", False),
    ],
)
def test_only_loopback_addresses_count_as_private(text: str, is_loopback: bool) -> None:
    assert Address.parse(text, 1).is_loopback is is_loopback
