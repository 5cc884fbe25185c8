"""The API's description, for people."""

from litestar import Response
from litestar.di import NamedDependency

from edge.endpoint import API, Public, route
from edge.pages import page
from edge.settings import Settings

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tollgate API</title>
<link rel="icon" href="{root}/docs/assets/favicon-32x32.png">
<link rel="stylesheet" href="{root}/docs/assets/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{root}/docs/assets/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "{root}/openapi.json", dom_id: "#swagger-ui"}})</script>
</body>
</html>
"""


async def get_documentation(settings: NamedDependency[Settings]) -> Response[str]:
    """Swagger UI over this server's own files: it renders without the internet."""
    return page(PAGE.format(root=settings.root_path.rstrip("/")))


endpoint = route(
    "GET",
    "/docs",
    get_documentation,
    description="This documentation.",
    perspective=Public,
    services={API},
    media_types=("text/html",),
)
