"""Where pages are read, so that their examples work there."""

from collections.abc import Mapping
from typing import Any

from litestar import Request
from litestar.di import NamedDependency
from msgspec import Struct

from edge.catalogue import Catalogue
from edge.found import base_url
from edge.settings import Settings


class Place(Struct, frozen=True):
    """The API as its reader sees it."""

    url: str
    models: Mapping[str, str]  # for each task, one that does it; best one that runs


async def read_place(
    request: Request[Any, Any, Any],
    catalogue: NamedDependency[Catalogue],
    settings: NamedDependency[Settings],
) -> Place:
    """Where the reader of a page is, and which models are there."""
    models: dict[str, str] = {}
    for state in sorted(catalogue.states(), key=lambda state: not state.workers):
        for task in state.model.tasks:
            models.setdefault(task, state.model.name)
    return Place(base_url(request.scope, settings), models)
