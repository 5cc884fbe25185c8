"""Amounts of money as people type them."""

import typer

from events.plans import money


def amount_of(text: str) -> int:
    """An amount like "12.50" or "-3", in billionths.

    Raises:
        typer.BadParameter: it is none.
    """
    try:
        amount = money(text.removeprefix("-"))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return -amount if text.startswith("-") else amount
