"""Lists, newest first, a page at a time."""

import operator
from collections.abc import Iterable, Sequence
from itertools import islice

from tests.stripe.errors import Refused, no_such
from tests.stripe.form import Params
from tests.stripe.params import integer, mapping
from tests.stripe.routes import Json

PAGE = ("limit", "starting_after", "ending_before")
COMPARISONS = {"gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le}


def page(newest_first: Iterable[Json], params: Params, url: str) -> Json:
    """Some of them.

    Raises:
        Refused: a limit that Stripe does not allow, or a neighbour that is not there.
    """
    limit = integer(params, "limit", 10)
    if limit is None or not 1 <= limit <= 100:
        raise Refused(f"This value must be between 1 and 100: {limit}", param="limit")
    found = iter(newest_first)
    if (after := params.get("starting_after")) is not None:
        if not any(one["id"] == after for one in found):
            raise no_such("object", after, param="starting_after")
    elif (before := params.get("ending_before")) is not None:
        return _before(list(found), before, limit, url)
    data = list(islice(found, limit))
    return listed(data, url, has_more=next(found, None) is not None)


def _before(newest_first: Sequence[Json], before: str, limit: int, url: str) -> Json:
    ids = [one["id"] for one in newest_first]
    if before not in ids:
        raise no_such("object", before, param="ending_before")
    newer = newest_first[: ids.index(before)]
    return listed(list(newer[-limit:]), url, has_more=len(newer) > limit)


def listed(data: Sequence[Json], url: str, *, has_more: bool = False) -> Json:
    return {"object": "list", "data": list(data), "has_more": has_more, "url": url}


def having(found: Iterable[Json], params: Params, *fields: str) -> Sequence[Json]:
    """Those with the values that are asked for, of fields that are asked about."""
    asked = {field: params[field] for field in fields if field in params}
    return [one for one in found if all(one[field] == asked[field] for field in asked)]


def within(found: Iterable[Json], params: Params, name: str = "created") -> Iterable[Json]:
    """Those of a time: ``created=7``, ``created[gte]=7``."""
    if name not in params:
        yield from found
        return
    if isinstance(params[name], str):
        exactly = integer(params, name)
        yield from (one for one in found if one[name] == exactly)
        return
    bounds = mapping(params, name)
    if unknown := bounds.keys() - COMPARISONS.keys():
        raise Refused(f"Invalid {name}: {', '.join(unknown)}", param=name)
    limits = [(COMPARISONS[key], integer(bounds, key) or 0) for key in bounds]
    yield from (one for one in found if all(holds(one[name], bound) for holds, bound in limits))
