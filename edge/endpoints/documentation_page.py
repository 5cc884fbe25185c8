"""One endpoint's description, for people."""

from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Template

from edge.documentation.pages import Pages
from edge.documentation.place import Place
from edge.endpoint import API, HTML, Public, route
from edge.errors import NotFound
from edge.examples import Example


async def get_documentation_page(
    name: FromPath[str],
    pages: NamedDependency[Pages],
    place: NamedDependency[Place],
) -> Template:
    """What its declaration says, and a request that works when pasted.

    Raises:
        NotFound: no endpoint has this name, or this edge does not serve it.
    """
    said = pages.page(name, place)
    if said is None:
        raise NotFound(f"there is no page {name!r}; see /docs for those that there are")
    return Template("endpoint.html", context=dict(said))


endpoint = route(
    "GET",
    "/docs/{name:str}",
    get_documentation_page,
    description="One endpoint's page, by its name: what it does, takes, gives and costs.",
    perspective=Public,
    services={API},
    media_types=(HTML,),
    example=Example(path={"name": "PAGE"}),
)
