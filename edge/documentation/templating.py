"""How pages are made of templates."""

import re
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar.plugins.jinja import JinjaTemplateEngine
from litestar.template import TemplateConfig
from markupsafe import Markup, escape

_CODE: Final = re.compile(r"`([^`]+)`")


def templates(root_path: str) -> TemplateConfig[JinjaTemplateEngine]:
    """The templates of this package; `root` is what all links begin with."""
    environment = Environment(
        loader=PackageLoader("edge.documentation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["prose"] = prose
    environment.globals["root"] = root_path.rstrip("/")
    return TemplateConfig(instance=JinjaTemplateEngine.from_environment(environment))


def prose(text: str) -> Markup:
    """A text in which backticks set off what is code, as HTML."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped
