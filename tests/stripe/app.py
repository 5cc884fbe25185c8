"""HTTP: keys, idempotency, failures, and then the account."""

import asyncio
import json
from base64 import b64decode

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tests.stripe import (  # noqa: F401 - each declares its routes
    checkout,
    customers,
    entitlements,
    events,
    form,
    invoices,
    meters,
    payments,
    portal,
    prices,
    products,
    subscriptions,
    webhooks,
)
from tests.stripe.account import Account
from tests.stripe.control import Control
from tests.stripe.courier import Courier
from tests.stripe.errors import Refused
from tests.stripe.failures import Failure, Failures
from tests.stripe.idempotency import Answer, Idempotency

KEY = "sk_test_standin"
CONTROL = "/_control/"
GARBAGE = "<html><body><h1>502 Bad Gateway</h1></body></html>"
MESSAGES = {
    401: ("Invalid API Key provided: sk_test_*****ndin", "invalid_request_error", None),
    403: ("The provided key does not have access.", "invalid_request_error", None),
    429: ("Request rate limit exceeded.", "invalid_request_error", "rate_limit"),
}


class App:
    """An ASGI application: Stripe at `/v1/...`, and the test's hand on it at `/_control/...`."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.failures = Failures()
        self.courier = Courier(account)
        self.control = Control(account, self.courier, self.failures)
        self.requests: list[tuple[str, str]] = []  # method and path of all that came
        self._idempotency = Idempotency()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        answer = await self._answer(request)
        if answer is None:
            # half an answer: the server closes the connection under it
            await send({"type": "http.response.start", "status": 200, "headers": []})
            return
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        path, method = request.url.path, request.method
        body = await request.body()
        if path.startswith(CONTROL):
            return self._controlled(path.removeprefix(CONTROL), body)
        self.requests.append((method, path))
        failure = self.failures.take(method, path)
        if failure is not None:
            if failure.after:
                self._asked(request, body)
            await asyncio.sleep(failure.delay_s)
            if failure.cut:
                return None
            if failure.status or failure.body is not None:
                return _failed(failure)
            if failure.after:
                return Response(GARBAGE, 502)
        return self._asked(request, body)

    def _controlled(self, name: str, body: bytes) -> Response:
        try:
            done = self.control.act(name, json.loads(body or b"{}"))
        except Refused as refused:
            return _json(json.dumps(refused.body).encode(), refused.status)
        return _json(json.dumps(done).encode())

    def _asked(self, request: Request, body: bytes) -> Response:
        """Answer as Stripe does; at once, so that one request follows the other."""
        number = f"req_{len(self.requests):014}"
        headers = {"request-id": number}
        key = request.headers.get("idempotency-key") if request.method == "POST" else None
        now = self.account.clock.now()
        try:
            self._authenticate(request)
            params = form.parse(request.url.query) | form.parse(body.decode())
            asked = (request.method, request.url.path, params)
            if key and (kept := self._idempotency.find(key, asked, now)):
                return _json(kept.body, kept.status, headers | {"idempotent-replayed": "true"})
        except Refused as refused:
            return _json(json.dumps(refused.body).encode(), refused.status, headers)
        self.account.journal.request = (number, key)
        try:
            answer = Answer(200, json.dumps(self.account.ask(*asked)).encode())
        except Refused as refused:
            answer = Answer(refused.status, json.dumps(refused.body).encode())
        if key and answer.status in (200, 402):  # what did not begin may be mended and tried again
            self._idempotency.keep(key, asked, now, answer)
        return _json(answer.body, answer.status, headers)

    def _authenticate(self, request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            given = b64decode(given).decode().partition(":")[0]
        if not given.startswith(("sk_test_", "rk_test_")) or given in self.control.revoked:
            raise Refused(f"Invalid API Key provided: {given[:8]}****", status=401)


def _failed(failure: Failure) -> Response:
    status = failure.status or 200
    headers = {"retry-after": failure.retry_after} if failure.retry_after else {}
    if failure.body is not None:
        return Response(failure.body, status, headers)
    message, kind, code = MESSAGES.get(status, ("An unknown error occurred", "api_error", None))
    refused = Refused(message, status=status, kind=kind, code=code)
    return _json(json.dumps(refused.body).encode(), status, headers)


def _json(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body, status, headers, media_type="application/json")
