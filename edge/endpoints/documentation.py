"""The API's description, for people: where to begin, and what there is."""

from litestar.di import NamedDependency
from litestar.response import Template

from edge.documentation.pages import Pages
from edge.documentation.place import Place
from edge.endpoint import API, HTML, Public, route


async def get_documentation(
    pages: NamedDependency[Pages],
    place: NamedDependency[Place],
) -> Template:
    """Readable without JavaScript, and without the internet."""
    return Template("index.html", context=dict(pages.index(place)))


endpoint = route(
    "GET",
    "/docs",
    get_documentation,
    description="This documentation: how to begin, and every endpoint.",
    perspective=Public,
    services={API},
    media_types=(HTML,),
)
