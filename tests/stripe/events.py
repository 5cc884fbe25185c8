"""The list of events, newest first, thirty days back."""

import operator
from collections.abc import Iterator
from typing import Any

from tests.stripe.account import Account
from tests.stripe.errors import Refused, no_such
from tests.stripe.form import Params
from tests.stripe.journal import Event
from tests.stripe.lists import COMPARISONS, PAGE, listed
from tests.stripe.params import integer, many, mapping
from tests.stripe.routes import Json, route

KEPT_S = 30 * 86_400


@route("GET", "/v1/events", *PAGE, "created", "type", "types", "delivery_success")
def list_all(account: Account, params: Params) -> Json:
    types = [*many(params, "types"), *([params["type"]] if "type" in params else [])]
    found = list(_within(account, params, types))
    limit = integer(params, "limit", 10)
    if limit is None or not 1 <= limit <= 100:
        raise Refused(f"This value must be between 1 and 100: {limit}", param="limit")
    start = 0
    if (after := params.get("starting_after")) is not None:
        ids = [event.id for event in found]
        if after not in ids:
            raise no_such("event", after, param="starting_after")
        start = ids.index(after) + 1
    data = [event.json() for event in found[start : start + limit]]
    return listed(data, "/v1/events", has_more=len(found) > start + limit)


@route("GET", "/v1/events/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    for event in account.journal.events:
        if event.id == id_ and event.created >= account.clock.now() - KEPT_S:
            return event.json()
    raise no_such("event", id_)


def _within(account: Account, params: Params, types: list[str]) -> Iterator[Event]:
    since = account.clock.now() - KEPT_S
    if isinstance(params.get("created"), str):
        bounds: list[tuple[Any, int]] = [(operator.eq, integer(params, "created") or 0)]
    else:
        given = mapping(params, "created")
        bounds = [(COMPARISONS[name], integer(given, name) or 0) for name in given]
    for event in account.journal.of_types(types):
        if event.created >= since and all(holds(event.created, bound) for holds, bound in bounds):
            yield event
