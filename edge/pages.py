"""Pages for people, and what a browser is to run of them: what we wrote, and nothing else."""

import base64
import hashlib
import re
from typing import Final

from litestar import MediaType, Response

_INLINE: Final = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_POLICY: Final = (
    "default-src 'none'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def page(html: str) -> Response[str]:
    """A page, with a policy that names each script in it by its hash.

    Source: https://www.w3.org/TR/CSP3/
    """
    return Response(
        html, media_type=MediaType.HTML, headers={"Content-Security-Policy": policy(html)}
    )


def policy(html: str = "") -> str:
    """The policy of a page: our own files, and the scripts that stand in it."""
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in _INLINE.findall(html)
    ]
    return _POLICY.format(scripts="".join(f" 'sha256-{digest}'" for digest in hashes))
