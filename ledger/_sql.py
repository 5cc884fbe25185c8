"""Named statements from the files in ``sql/``."""

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Final

_NAME: Final = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(file: str) -> Mapping[str, str]:
    """The statements of one file, each under the name in the comment above it."""
    text = files("ledger").joinpath("sql", file).read_text()
    _, *parts = _NAME.split(text)
    return dict(zip(parts[::2], (part.strip() for part in parts[1::2]), strict=True))
