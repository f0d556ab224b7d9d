"""What a node process is told, and what it refuses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from node import process
from node.settings import Address, SettingsError, from_arguments
from node.token import TokenError

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
        (["--found", "--listen", "::1"], "or [host]:port for IPv6"),
        (["--found", "--listen", "[::1]7400"], "is no address"),
        (["--found", "--listen", "[::1"], "is no address"),
        (["--found", "--listen", "[host]:7400"], "'host' is not an IPv6 address"),
        (["--found", "--listen", ""], "--listen: '' is no address"),
        (["--found", "--listen", "host:"], "the port must be 0 to 65535"),
        (["--found", "--listen", "host:-1"], "the port must be 0 to 65535"),
        (["--found", "--listen", "host:٣"], "the port must be 0 to 65535"),
        (["--found", "--listen", "a b:1"], "'a b' is not a host name"),
        (["--found", "--listen", "[::]:7400"], "give --advertise"),
        (["--found", "--door", "http://127.0.0.1:80"], "--door: 'http://127.0.0.1:80' is no"),
        (["--found", "--advertise", "host:0"], "--advertise: 'host:0' is no address"),
        (["--found", "--advertise", "0.0.0.0:7400"], "--advertise: other nodes cannot dial"),
        (["--found", "--listen", "h:0", "--advertise", "h"], "--advertise: 'h' is no address"),
        (["--found", *(9 * ["--advertise", "h:1"])], "--advertise: 8 addresses at most"),
        (["--found", "--tag", "role"], "write KEY=VALUE"),
        (["--found", "--tag", "a role=x"], "--tag: a tag's key is"),
        (["--found", "--answer", "load"], "--answer: write NAME=PROGRAM"),
        (["--found", "--answer", "=df"], "--answer: write NAME=PROGRAM"),
        (["--found", "--answer", "a\nb=df"], "--answer: write NAME=PROGRAM"),
        (["--found", *("--answer", "x=df") * 2], "--answer: there are two programs for 'x'"),
        (["--join", "host:0"], "--join: 'host:0' is no address: the port must be 1 to 65535"),
        (["--join", ""], "--join: '' is no address"),
        (["--join", "[::1]:70000"], "--join: '[::1]:70000' is no address"),
        (["--found", "--slots", "0"], "--slots: must be a whole number from 1 to 64"),
        (["--found", "--slots", "65"], "--slots: must be a whole number from 1 to 64"),
        (["--found", "--slots", "1.5"], "--slots: must be a whole number"),
        (["--found", "--slots", "9" * 5_000], "--slots: must be a whole number"),
        (["--found", "--expect", "-1"], "--expect: must be a whole number from 1 to 10000"),
        (["--found", "--expect", "many"], "--expect: must be a whole number from 1 to 10000"),
        (["--found", "--preset", "moon"], "--preset: invalid choice: 'moon' (choose from"),
        (["--found", "--name", ""], "--name: must be 1 to 64 printable"),
        (["--found", "--name", "a\nb"], "--name: must be 1 to 64 printable"),
        (["--found", "--name", "\udcff"], "--name: must be 1 to 64 printable"),
        (["--found", "--cluster", "x" * 65], "--cluster: must be 1 to 64 printable"),
        (["--found", "--seed", "\udcff"], "--seed: must be at most 200 printable"),
        (["--found", "--data-dir", ""], "--data-dir: must be a folder's path"),
        (["--found", "--simulated-url", "127.0.0.1:80"], "--simulated-url: must be like http://"),
        (["--found", "--simulated-url", "http://[::1"], "--simulated-url: must be like http://"),
        (["--found", "--simulated-url", "http://h:x/"], "--simulated-url: must be like http://"),
        (["--found", "--secret-file", "/"], "--secret-file / cannot be read: Is a directory"),
        (["--found", "--fnord", "a\nb"], "unrecognized arguments: --fnord a b"),
        (["--found", "--secret-file", "/nonexistent/secret"], "cannot be read"),
        *(
            (["--found", "--speed", text], "--speed: must be a number above 0 and at most 1000000")
            for text in ("0", "-1", "nan", "inf", "fast", "")
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    arguments: list[str], fault: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        from_arguments(["--data-dir", str(tmp_path), *arguments])
    assert fault in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("", "the team's secret is missing: set QUORATE_SECRET or give --secret-file"),
        (" \n", "the team's secret is missing"),
        (
            "short",
            "QUORATE_SECRET: the team's secret must be 16 to 4096 printable characters, not 5",
        ),
        ("x" * 4097, "QUORATE_SECRET: the team's secret must be 16 to 4096"),
        ("half a character \udcff", "QUORATE_SECRET: the team's secret must be"),
    ],
)
def test_a_secret_that_will_not_do_is_refused_and_not_repeated(
    secret: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_SECRET", secret)
    with pytest.raises(SettingsError) as caught:
        from_arguments(["--data-dir", str(tmp_path), "--found"])
    assert fault in str(caught.value)
    assert not secret.strip() or secret not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "must be 16 to 4096 printable characters, not 0"),
        (b"short\n", "must be 16 to 4096 printable characters, not 5"),
        (b"\xff" * 20, "it is not text"),
        (b"two lines of a\nfile that is another", "must be 16 to 4096 printable"),
        (b"x" * 10_000, "must be 16 to 4096 printable"),
    ],
)
def test_a_secret_file_that_will_not_do_is_named(
    content: bytes, fault: str, tmp_path: Path
) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        from_arguments(["--data-dir", str(tmp_path), "--found", "--secret-file", str(path)])
    assert f"--secret-file {path}" in str(caught.value)
    assert fault in str(caught.value)


def test_a_secret_is_the_same_from_a_file_and_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors end files with a line break, and so do some who set variables."""
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    monkeypatch.setenv("QUORATE_SECRET", f"{SECRET}\n")
    common = ["--data-dir", str(tmp_path), "--found"]
    by_variable = from_arguments(common).secret
    assert by_variable == SECRET
    assert (
        from_arguments([*common, "--secret-file", str(tmp_path / "secret")]).secret == by_variable
    )


def test_secrets_do_not_show_in_a_repr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUORATE_TOKEN", "a token")
    settings = from_arguments(["--data-dir", str(tmp_path), "--found"])
    assert SECRET not in repr(settings)
    assert "a token" not in repr(settings)


@pytest.mark.parametrize("token", ["ä", "a\nb", "x" * 257])
def test_a_token_that_no_header_can_carry_is_refused(
    token: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUORATE_TOKEN", token)
    with pytest.raises(TokenError, match="QUORATE_TOKEN: a token is at most 256 printable ASCII"):
        from_arguments(["--data-dir", str(tmp_path), "--found"])


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("host", "host:7"),
        ("host:0", "host:0"),
        ("10.0.0.1:65535", "10.0.0.1:65535"),
        ("[::1]", "[::1]:7"),
        ("[::1]:7400", "[::1]:7400"),
        ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
        ("my_service-1.example", "my_service-1.example:7"),
    ],
)
def test_an_address_is_read_as_it_is_written(text: str, address: str) -> None:
    assert str(Address.parse(text, 7)) == address
    assert Address.parse(str(Address.parse(text, 7)), 0) == Address.parse(text, 7)


def test_the_advertised_port_is_that_of_listening_unless_given(tmp_path: Path) -> None:
    common = ["--data-dir", str(tmp_path), "--found", "--listen", "0.0.0.0:7500"]
    assert from_arguments([*common, "--advertise", "n1"]).advertise == ("n1:7500",)
    found = from_arguments([*common, "--advertise", "[2001:db8::1]:1"])
    assert found.advertise == ("[2001:db8::1]:1",)


def test_a_node_has_several_addresses_and_tags(tmp_path: Path) -> None:
    advertised = ("--advertise", "near:1", "--advertise", "far")
    tags = ("--tag", "role=gpu", "--tag", "note=a=b")
    found = from_arguments(["--data-dir", str(tmp_path), "--found", *advertised, *tags])
    assert found.advertise == ("near:1", "far:7400")
    assert found.tags == (("role", "gpu"), ("note", "a=b"))


def test_a_machine_with_any_name_can_run_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host, name in (("", "node"), ("x" * 80, "x" * 64), ("a\nb", "ab")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        assert from_arguments(["--data-dir", str(tmp_path), "--found"]).name == name


@pytest.mark.parametrize("damage", ["a file", "below a file", "damaged key"])
def test_a_node_that_cannot_use_its_data_directory_exits_with_2(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    match damage:
        case "a file":
            folder.touch()
        case "below a file":
            folder.touch()
            folder = folder / "below"
        case _:
            folder.mkdir()
            (folder / "identity.key").touch(mode=0o600)
    arguments = ["--data-dir", str(folder), "--found", "--listen", "127.0.0.1:0"]
    assert process.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert str(folder) in said


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
