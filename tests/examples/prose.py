"""Blocks of shell in Markdown that call the API."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

ROOT: Final = Path(__file__).parents[2]
LOCAL: Final = "http://127.0.0.1:8080"  # where `make up` listens, as Markdown has it
_BLOCK: Final = re.compile(
    r"(?:<!-- not run: (?P<why>[^>]+) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_COMMAND: Final = re.compile(r"^\$ ((?:.*\\\n)*.*)", re.MULTILINE)


class Block(Struct, frozen=True):
    """What is to be typed; `why` says why not, if it is not to be run."""

    path: Path
    line: int
    text: str
    why: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def documents() -> Sequence[Path]:
    """All that people read, decisions included."""
    return [
        path
        for folder in ("", "docs", "docs/decisions", "deploy/grafana", "deploy/proxies")
        for path in sorted((ROOT / folder).glob("*.md"))
        if path.name != "CHANGELOG.md"
    ]


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a document that call the API by curl, in their order."""
    said = path.read_text()
    for found in _BLOCK.finditer(said):
        text = found["text"]
        if re.search(r"^\$ ", text, re.MULTILINE):  # with what is answered between commands
            text = "\n".join(_COMMAND.findall(text))
        elif found["language"] != "sh":
            continue
        if re.search(r"\bcurl\s", text):
            line = said.count("\n", 0, found.start()) + 1
            yield Block(path, line, text, found["why"] or "")
