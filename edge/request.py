"""Requests as Litestar's handlers get them, read within the bounds that inference requests have."""

from typing import Any

import litestar
import msgspec
from litestar.types import Empty

from edge.asgi import read_body
from edge.auth import Caller
from edge.input import decode


class Request(litestar.Request[Any, Any, Any]):
    """Litestar's own answers 500 to deep JSON, and to a caller who leaves before the end."""

    async def body(self) -> bytes:
        """The whole of it; raises as `read_body`."""
        if self._body is Empty:
            limit = self.route_handler.resolve_request_max_body_size()
            assert limit is not None
            caller: Caller | None = self.scope.get("auth")  # by the guard, which was here before
            account_id = caller.account.id if caller else None
            self._body = await read_body(self.scope, self.receive, limit, account_id)
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        """What it says; raises as `decode`."""
        return decode(msgspec.json.decode, await self.body())
