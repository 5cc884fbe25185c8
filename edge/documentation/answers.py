"""Answers to the examples as a running system gave them, for the pages to show.

`make examples` asks anew and writes the file; a test sees that its answers still fit.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

import msgspec
from msgspec import Struct


class RecordedAnswer(Struct, frozen=True, kw_only=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: str  # as it is shown
    cut: bool = False  # whether more came than is shown


#: By the endpoint's name.
ANSWERS: Final = msgspec.json.decode(
    files(__package__).joinpath("answers.json").read_bytes(), type=dict[str, RecordedAnswer]
)
