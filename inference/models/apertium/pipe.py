"""Programs that read from each other, and answer one text after the other."""

import os
import re
import selectors
import subprocess
import time
import weakref
from collections.abc import Sequence
from typing import Final

ANSWER_S: Final = 60.0  # for one text; 20,000 words take three
PIECE: Final = 65_536

# Apertium's stream format: these mean something there, and a backslash takes that away;
# what is in brackets is handed on as it is: line ends, control characters, and what no
# language writes without a space, which the programs take the square of its length for.
# Linear in a text: no run of spaces is begun anew at each, and a mark reads one way alone
_MARKS: Final = re.compile(r"[\\\[\]{}^$@/<>]")
_HIDDEN: Final = re.compile(
    r"(?:(?<![^\S\n])[^\S\n]+)?[\x01-\x08\n-\r\x0e-\x1f\x7f-\x9f\u2028\u2029]\s*"
    r"|(?:\\\S|[^\s\\]){100,}"
)
_WRITTEN: Final = re.compile(r"\\(.)|(\.?)\[((?:\\.|[^\]\\])*)\]", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_END: Final = ".[]"


class PipeBroken(Exception):
    """A program ended, or says nothing."""


class Pipe:
    """The programs of a pipeline, running until this is garbage."""

    def __init__(self, commands: Sequence[Sequence[str]]) -> None:
        processes: list[subprocess.Popen[bytes]] = []
        source, self._in = os.pipe()
        for command in commands:
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the worker's, which finishes what it has
            )
            os.close(source)
            assert process.stdout is not None
            source = os.dup(process.stdout.fileno())
            process.stdout.close()
            processes.append(process)
        self._out = source
        os.set_blocking(self._in, False)  # or we write, and the last one waits to be read
        weakref.finalize(self, _end, self._in, self._out, processes)

    def translate(self, text: str) -> str:
        """What the pipeline makes of a text without NULs.

        Raises:
            PipeBroken: it broke at this text; make another one.
        """
        return _read(self._through(_written(text).encode() + b"\0").decode(errors="replace"))

    def _through(self, sent: bytes) -> bytes:
        left, came = memoryview(sent), bytearray()
        until = time.monotonic() + ANSWER_S
        with selectors.DefaultSelector() as ready:
            ready.register(self._out, selectors.EVENT_READ)
            ready.register(self._in, selectors.EVENT_WRITE)
            while not came.endswith(b"\0"):
                events = ready.select(until - time.monotonic())
                if not events or time.monotonic() > until:
                    raise PipeBroken(f"no answer within {ANSWER_S:g} s")
                for key, _ in events:
                    if key.fd == self._out:
                        came += self._take()
                    else:
                        left = left[self._give(left) :]
                        if not left:
                            ready.unregister(self._in)
        return bytes(came[:-1])

    def _take(self) -> bytes:
        piece = os.read(self._out, PIECE)
        if not piece:
            raise PipeBroken("a program ended")
        return piece

    def _give(self, left: memoryview) -> int:
        try:
            return os.write(self._in, left[:PIECE])
        except BrokenPipeError as error:
            raise PipeBroken("a program ended") from error


def _end(source: int, target: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    os.close(source)
    os.close(target)
    for process in processes:
        process.kill()
        process.wait()


def _written(text: str) -> str:
    """A text as the programs read it.

    Source: apertium-destxt: a text, and a paragraph, ends with a full stop that is no part
    of it, so that no sentence goes on behind it.
    """
    return _HIDDEN.sub(_hidden, _MARKS.sub(r"\\\g<0>", text)) + _END


def _hidden(found: re.Match[str]) -> str:
    return f"{'.' * _is_paragraph(found[0])}[{found[0]}]"


def _read(said: str) -> str:
    """The text of what the programs wrote."""
    return _WRITTEN.sub(_plain, said)


def _plain(found: re.Match[str]) -> str:
    if found[1]:
        return found[1]
    hidden = _ESCAPED.sub(r"\1", found[3])
    return hidden if not hidden or _is_paragraph(hidden) else found[2] + hidden


def _is_paragraph(blank: str) -> bool:
    return blank.count("\n") > 1
