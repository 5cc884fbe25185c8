"""The API's description, to try out in a browser."""

from litestar.response import Template

from edge.endpoint import API, HTML, Public, route


async def get_try_out() -> Template:
    """Swagger UI over this server's own files: it renders without the internet."""
    return Template("try.html")


endpoint = route(
    "GET",
    "/docs/try",
    get_try_out,
    description="Every endpoint in Swagger UI, to be called from the browser.",
    perspective=Public,
    services={API},
    media_types=(HTML,),
)
