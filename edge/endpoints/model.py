"""One of the models that there are."""

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.catalogue import Catalogue
from edge.endpoint import API, Public, route
from edge.endpoints.models import Model, show_model
from edge.errors import UnknownModel


async def get_model(model: FromPath[str], catalogue: NamedDependency[Catalogue]) -> Model:
    """One model; a name with a slash may be sent as it is, or percent-encoded."""
    return show_model(catalogue.state(model.removeprefix("/")))


endpoint = route(
    "GET",
    "/v1/models/{model:path}",
    get_model,
    description="One model, by its `id` in the list: its tasks, and whether it runs now.",
    perspective=Public,
    services={API},
    raises={UnknownModel},
)
