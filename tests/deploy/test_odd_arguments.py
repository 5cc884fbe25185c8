"""Every command with odd arguments and odd files: one clear line, and never a traceback."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from deploy import cli, serve

NOTHING = {"TOLLGATE_HOME": "/nowhere", "TOLLGATE_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}
ODD = (
    "",
    " ",
    "-1",
    "9" * 400,
    "nan",
    "🙂",
    "a\nb",
    "\udcff",  # as Python has a byte that is no UTF-8
    "%s{}",
    "../../../etc/shadow",
    "00000000-0000-0000-0000-000000000000",
    "0000-99-99",
)
STAY = {"up", "consume"}  # whatever they are told


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command, and where it is."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = {path: one for path, one in commands(get_command(cli.app)) if path[0] not in STAY}


def odd_call(command: Any, odd: str, turn: int) -> Sequence[str]:
    """An odd value for all that has to be given, and for one of the options, in turns."""
    needed: list[str] = []
    options: list[Sequence[str]] = [()]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            needed.append(odd)
        elif parameter.required:
            needed += [parameter.opts[0], odd]
        else:
            options.append([parameter.opts[0], *([] if parameter.is_flag else [odd])])
    return [*options[turn % len(options)], *needed]


@pytest.fixture
def odd_files(tmp_path: Path) -> Sequence[str]:
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(bytes(range(256)) * 100)
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "odd.toml").write_text('[[plan]]\nname = "\\u0000"\n[[model]]\nname = 1\n')
    return [str(tmp_path), *map(str, tmp_path.iterdir())]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_is_odd_gets_a_clear_line(
    path: tuple[str, ...],
    odd_files: Sequence[str],
    nats_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name, value in {**NOTHING, "TOLLGATE_NATS_URL": nats_url}.items():
        monkeypatch.setenv(name, value)
    for module in (cli, serve):  # logs would go to this test's stderr for ever
        monkeypatch.setattr(module, "configure_logging", lambda _: None)
    for turn, odd in enumerate((*ODD, *odd_files)):
        arguments = odd_call(COMMANDS[path], odd, turn)
        monkeypatch.setattr(sys, "argv", ["tollgate", *path, *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr().err.splitlines()
        assert ended.value.code in {0, 1, 2}, arguments
        assert not ended.value.code or said[-1].startswith("tollgate: "), (arguments, said)
