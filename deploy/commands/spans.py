"""Spans of time as people type them."""

from typing import Final

import typer

MOST: Final = 36_500.0  # a hundred years, in days: times that far away are still times


def span_of(text: str | float) -> float:
    """A number of days or hours.

    Raises:
        typer.BadParameter: it is none that a time could be reckoned with.
    """
    try:
        span = float(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not a number") from error
    if not 0 <= span <= MOST:  # nan, neither
        raise typer.BadParameter(f"a number from 0 to {MOST:,.0f} is expected")
    return span
