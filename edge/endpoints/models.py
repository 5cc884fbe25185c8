"""The models that there are."""

from typing import Literal

from litestar.di import NamedDependency
from msgspec import Struct

from edge.catalogue import Catalogue, ModelState
from edge.endpoint import API, Public, route


class Model(Struct, frozen=True, kw_only=True):
    """One declared model; the first four fields are those of OpenAI's clients."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0  # nobody says when
    owned_by: str = "tollgate"
    description: str
    tasks: tuple[str, ...]
    languages: tuple[str, ...]  # that it reads; empty: any
    translator: str  # the model that translates others, where a path names one; or empty
    running: bool
    workers: int


class ModelList(Struct, frozen=True, kw_only=True):
    """Every declared model, in the order of the models file."""

    object: Literal["list"] = "list"
    data: list[Model]


async def list_models(catalogue: NamedDependency[Catalogue]) -> ModelList:
    """What is declared, and what of it runs."""
    return ModelList(data=[show_model(state) for state in catalogue.states()])


def show_model(state: ModelState) -> Model:
    """A declared model, as callers see it."""
    return Model(
        id=state.model.name,
        description=state.model.description,
        tasks=state.model.tasks,
        languages=state.model.languages,
        translator=state.model.translator,
        running=state.workers > 0,
        workers=state.workers,
    )


endpoint = route(
    "GET",
    "/v1/models",
    list_models,
    description="The models that are declared, their tasks, and whether they run now.",
    perspective=Public,
    services={API},
)
