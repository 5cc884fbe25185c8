"""Asking Stripe: paced below its limits, patient with its failures, answers in its own words."""

import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec
import stripe
import structlog
from aiolimiter import AsyncLimiter
from msgspec import Meta, Struct
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from ledger.errors import (
    NoStripeKey,
    RefusedByLedger,
    StripeKeyRefused,
    StripeNotPermitted,
    StripeRefused,
    StripeUnavailable,
    UnreadableObject,
)

log = structlog.get_logger()

PER_SECOND: Final = 20.0  # of one process; Stripe allows 25 in test mode, 100 live
TIMEOUT_S: Final = 10.0
ATTEMPTS: Final = 4  # at what Stripe answers with 429
LONGEST_WAIT_S: Final = 8.0
NETWORK_RETRIES: Final = 2  # the package's own: connections, 409 and 5xx
PAGE: Final = 100  # objects; Stripe's most
OTHER_CALL: Final = "idempotency_error"  # the code where a key was used for something else
REPLAYED: Final = "Idempotent-Replayed"  # the header of an old answer, given again

_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # as JSON escapes it

Json = dict[str, Any]
T = TypeVar("T")


class _Listed(Struct):
    id: Annotated[str, Meta(pattern="^[!-~]{1,255}$")]


class _Page(Struct):
    data: list[Any]
    has_more: bool


def read(answer: Any, form: type[T]) -> T:  # noqa: ANN401 - JSON
    """The fields of an object of Stripe's that matter to somebody.

    Raises:
        UnreadableObject: it has another form.
    """
    try:
        return msgspec.convert(answer, form)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # half a character, for a list
        raise UnreadableObject(f"Stripe says what nobody understands: {error}") from error


def livemode(key: str) -> bool | None:
    """Whether a key is of live mode; None where it does not say."""
    modes = {"live": True, "test": False}
    return next((mode for name, mode in modes.items() if f"_{name}_" in key), None)


def as_json(answer: Json) -> str:
    """An answer as PostgreSQL takes it, with every number as it came.

    Raises:
        RefusedByLedger: it has NUL, half a character, or a number that is none; or it is
            nested too deeply.
    """
    try:
        text = json.dumps(answer, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (RecursionError, ValueError) as error:
        raise RefusedByLedger(f"Stripe's answer cannot be kept: {error}") from error
    if _NUL.search(text):
        raise RefusedByLedger("Stripe's answer cannot be kept: it has a NUL character")
    return text


class StripeApi:
    """Stripe over HTTP.

    What is posted carries an idempotency key, so that it can be sent again: the caller
    chooses one that is the same after a crash.

    Args:
        key: Secret or restricted.
        base: Of a stand-in's; empty: Stripe's own.
        per_second: Requests; more wait their turn.

    Raises:
        NoStripeKey: `key` is empty.
    """

    def __init__(self, key: str, base: str = "", *, per_second: float = PER_SECOND) -> None:
        if not key:
            raise NoStripeKey
        self._http = stripe.HTTPXClient(timeout=TIMEOUT_S)
        self._client = stripe.StripeClient(
            key,
            base_addresses={"api": base.rstrip("/")} if base else {},
            max_network_retries=NETWORK_RETRIES,
            http_client=self._http,
        )
        self._pace = AsyncLimiter(max(1.0, per_second / 4), max(1.0, per_second / 4) / per_second)

    async def get(self, path: str, **params: object) -> Json:
        """Ask for an object or a list.

        Args:
            path: Such as ``/v1/customers/cus_1``.
            params: Of the query, as Stripe names them; may be nested.

        Raises:
            StripeUnavailable: away, or over its limits for longer than we wait.
            StripeKeyRefused: the key is not good.
            StripeNotPermitted: it is not good for this; also a `StripeKeyRefused`.
            StripeRefused: it will never answer this; `status` 404 where it does not exist.
        """
        return await self._request("get", path, params)

    async def post(self, path: str, *, idempotency_key: str, **params: object) -> Json:
        """Make or change something; safe to repeat with the same key for a day.

        To a repeat Stripe says what it said the first time, whatever happened since. So what
        was made or changed is then asked for, as it is now.

        Raises:
            StripeUnavailable: its fate is unknown; send it again with the same key.
            StripeKeyRefused, StripeRefused: nothing was done.
        """
        params |= {"idempotency_key": idempotency_key}
        answer, replayed = await self._answer("post", path, params)
        id_ = answer.get("id")
        if not replayed or not isinstance(id_, str):
            return answer
        return await self.get(path if path.endswith(f"/{id_}") else f"{path}/{id_}")

    async def delete(self, path: str, **params: object) -> Json:
        """Delete or cancel something. Raises as `get` does."""
        return await self._request("delete", path, params)

    async def pages(self, path: str, **params: object) -> AsyncIterator[Json]:
        """Everything in a list, newest first. Raises as `page` does."""
        after: Json = {}
        has_more = True
        while has_more:
            items, has_more = await self.page(path, **params | after)
            for item in items:
                yield item
            after = {"starting_after": items[-1]["id"]} if items else {}

    async def page(self, path: str, **params: object) -> tuple[list[Json], bool]:
        """The objects of a page, each with an id, and whether there are more.

        What has no id cannot be kept, nor be asked for: it is left out, and said.

        Raises:
            StripeUnavailable: no answer, or nonsense: what is no list is as good as none.
            StripeKeyRefused, StripeRefused: as `get` does.
        """
        page = await self.get(path, **{"limit": PAGE} | params)
        try:
            listed = read(page, _Page)
            found = [one for one in listed.data if _has_id(one)]
            if listed.data and not found:
                read(listed.data, list[_Listed])
        except UnreadableObject as error:
            raise StripeUnavailable(f"{path} is no list: {error}") from error
        if found and found[-1]["id"] == params.get("starting_after"):
            raise StripeUnavailable(f"{path} lists the same page again and again")
        if len(found) < len(listed.data):
            log.error("stripe_objects_without_id", path=path, number=len(listed.data) - len(found))
        return found, listed.has_more and bool(found)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call] # stripe has few types

    async def _request(self, method: str, path: str, params: Json) -> Json:
        answer, _ = await self._answer(method, path, params)
        return answer

    async def _answer(self, method: str, path: str, params: Json) -> tuple[Json, bool]:
        """What Stripe says, and whether it said so before."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(stripe.RateLimitError),
            wait=wait_random_exponential(max=LONGEST_WAIT_S),
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    async with self._pace:
                        answer = await self._client.raw_request_async(method, path, **params)
        except stripe.PermissionError as error:
            raise StripeNotPermitted(_words(error)) from error
        except stripe.AuthenticationError as error:
            raise StripeKeyRefused(_words(error)) from error
        except (stripe.RateLimitError, stripe.APIConnectionError) as error:
            raise StripeUnavailable(_words(error)) from error
        except stripe.StripeError as error:
            status = error.http_status or 0
            if not 400 <= status < 500 or status == 409:  # noqa: PLR2004 - 409: in the works
                raise StripeUnavailable(_words(error)) from error
            raise StripeRefused(
                _words(error),
                status=status,
                code=OTHER_CALL
                if isinstance(error, stripe.IdempotencyError)
                else _text(error.code),
                param=_text(getattr(error, "param", None)),
            ) from error
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise StripeUnavailable(f"Stripe answered nonsense: {error!r}") from error
        if not isinstance(answer.data, dict):
            raise StripeUnavailable(f"Stripe answered nonsense: {str(answer.data)[:100]}")
        return cast("Json", answer.data), answer.headers.get(REPLAYED) == "true"


def _has_id(one: Any) -> bool:  # noqa: ANN401 - JSON
    try:
        read(one, _Listed)
    except UnreadableObject:
        return False
    return True


def _words(error: stripe.StripeError) -> str:
    """What Stripe said, short: a body of garbage can be long."""
    return _whole(str(error.user_message or error)[:500])


def _text(value: object) -> str | None:
    return _whole(value) if isinstance(value, str) else None


def _whole(text: str) -> str:
    """A text that can be sent on: JSON can hold half a character, and UTF-8 cannot."""
    return text.encode(errors="replace").decode()
