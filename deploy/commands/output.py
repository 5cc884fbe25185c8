"""Data on a terminal: a table for people, JSON for programs."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def show(rows: Sequence[Any], columns: Sequence[str], *, as_json: bool) -> None:
    """Print structs, one a row.

    Args:
        rows: msgspec structs.
        columns: The fields that the table shows; JSON has them all.
        as_json: As a JSON list.
    """
    if as_json:
        print_json(rows)
        return
    show_table(columns, [[getattr(row, column) for column in columns] for row in rows])


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows of cells below the columns' names."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(_cell, row))
    # not narrower than the data where the output is a file or a pipe
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever msgspec encodes
    """Print a value as indented JSON."""
    print(msgspec.json.format(msgspec.json.encode(value)).decode())


def _cell(value: Any) -> str:  # noqa: ANN401 - any field
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if hasattr(value, "strftime"):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:,}" if isinstance(value, int) else str(value)
