"""A page of the documentation, as its reader has it: what there is to be pasted."""

import re
from html.parser import HTMLParser

from msgspec import Struct

_AFTER = re.compile(r'Send the example of <a href="[^"]*/docs/([^"]+)">')


class Snippet(Struct, frozen=True):
    """What is pasted: in which language, and for which kind of answer."""

    page: str
    language: str
    kind: str
    text: str

    @property
    def label(self) -> str:
        return f"{self.page}.{self.language}.{self.kind}"


class Page(Struct, frozen=True):
    name: str
    before: str
    after: str
    snippets: list[Snippet]


def read_page(name: str, html: str) -> Page:
    """The blocks of code of a page, unescaped as a browser does it."""
    blocks = _Blocks()
    blocks.feed(html)
    after = _AFTER.search(html)
    return Page(
        name=name,
        before=blocks.found.get("before", ""),
        after=after[1] if after else "",
        snippets=[
            Snippet(name, language, kind, text)
            for what, text in blocks.found.items()
            for language, _, kind in [what.partition(" ")]
            if kind
        ],
    )


class _Blocks(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._in = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "pre" and (what := dict(attrs).get("data-what")):
            self._in = what
            self.found[what] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._in = ""

    def handle_data(self, data: str) -> None:
        if self._in:
            self.found[self._in] += data
