"""Telling a person what is going on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.text import Text


class Progress:
    """Lines on stdout; on a terminal also a spinner for what takes long."""

    def __init__(self) -> None:
        self._console = Console()

    def say(self, line: str) -> None:
        """Print a line as it is."""
        with suppress(BrokenPipeError):  # `tollgate up | head`: nobody listens, go on
            if self._console.is_terminal:
                self._console.print(_styled(line), soft_wrap=True)
            else:
                print(line, flush=True)

    @contextmanager
    def step(self, doing: str) -> Iterator[None]:
        """Say what is being done, and in the end how long it took."""
        started = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(f"{doing} ..."):
                yield
        else:
            self.say(f"{doing} ...")
            yield
        self.say(f"{doing}: done in {time.monotonic() - started:.1f} s")


def _styled(line: str) -> Text:
    """A child's line with its name set back."""
    text = Text(line)
    name, bar, _ = line.partition(" | ")
    if bar:
        text.stylize("dim", 0, len(name) + len(bar))
    return text
