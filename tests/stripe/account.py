"""All that one account at Stripe has, and how it is asked."""

import copy
import random
import string
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.stripe import form, routes
from tests.stripe.clock import Clock
from tests.stripe.errors import Refused, no_such
from tests.stripe.form import Params
from tests.stripe.journal import Journal
from tests.stripe.routes import Json

LETTERS = string.ascii_letters + string.digits


class Account:
    """Stripe, in memory. `get`, `post` and `delete` are what HTTP asks, without HTTP.

    Args:
        clock: Of all that is created.
        seed: Of the ids, which carry no order.
    """

    def __init__(self, clock: Clock | None = None, *, seed: int | None = None) -> None:
        self.clock = clock or Clock()
        self.random = random.Random(seed)
        self.journal = Journal()
        self.objects: dict[str, dict[str, Json]] = {}  # by kind and id, oldest first
        self.by_id: dict[str, Json] = {}
        self.declined: set[str] = set()  # customers whose payments fail
        self.without_payment_method: set[str] = set()
        self.dunning = "canceled"  # what a subscription is after its last failed attempt
        self.meter_events: dict[str, list[Json]] = {}  # by the meter's event name
        self.meter_identifiers: dict[str, int] = {}  # when they came
        self.product_features: dict[str, dict[str, Json]] = {}  # by product and id
        self.entitled: dict[str, dict[str, Json]] = {}  # by customer and feature
        self.checkouts: dict[str, Params] = {}  # what they were made with

    def get(self, path: str, **params: Any) -> Json:
        return self.ask("GET", path, form.of(params))

    def post(self, path: str, **params: Any) -> Json:
        return self.ask("POST", path, form.of(params))

    def delete(self, path: str, **params: Any) -> Json:
        return self.ask("DELETE", path, form.of(params))

    def ask(self, method: str, path: str, params: Params) -> Json:
        """Answer one request, with a copy of what there is.

        Raises:
            Refused: in Stripe's words.
        """
        handler, names = routes.find(method, path, params)
        answer = copy.deepcopy(handler(self, params, **names))
        for wanted in params.get("expand") or ():
            self._expand(answer, wanted.split("."))
        return answer

    def mint(self, prefix: str) -> str:
        return f"{prefix}_{''.join(self.random.choices(LETTERS, k=24))}"

    def add(self, kind: str, made: Json) -> Json:
        """Keep a new object under its kind and id."""
        self.objects.setdefault(kind, {})[made["id"]] = made
        self.by_id[made["id"]] = made
        return made

    def newest(self, kind: str) -> Iterable[Json]:
        return reversed(self.objects.get(kind, {}).values())

    def find(self, kind: str, id_: Any, *, param: str = "id") -> Json:
        """An object that is not deleted.

        Raises:
            Refused: there is none.
        """
        found = self.objects.get(kind, {}).get(id_)
        if found is None:
            raise no_such(kind, id_, param=param)
        return found

    def remove(self, kind: str, id_: str) -> Json:
        """Forget an object but for its id, and say so."""
        gone = self.find(kind, id_)
        del self.objects[kind][id_]
        self.by_id[id_] = {"id": id_, "object": gone["object"], "deleted": True}
        self.emit(f"{kind}.deleted", gone)
        return self.by_id[id_]

    def emit(self, type_: str, about: Json, previous: Json | None = None) -> Json:
        """An event: how the object is now, and what of it was otherwise before."""
        data = {"object": copy.deepcopy(about)}
        if previous is not None:
            data["previous_attributes"] = previous
        return self.journal.add(self.mint("evt"), type_, self.clock.now(), data)

    @contextmanager
    def changing(self, changed: Json, type_: str) -> Iterator[None]:
        """Change an object, with an event where something of it is different after that."""
        before = copy.deepcopy(changed)
        yield
        if changed != before:
            self.emit(type_, changed, _previous(before, changed))

    def _expand(self, value: Any, path: list[str]) -> None:
        """Put objects in the place of their ids."""
        if isinstance(value, list):
            for one in value:
                self._expand(one, path)
        elif isinstance(value, dict):
            name, *rest = path
            if name not in value:
                raise Refused(f"This property cannot be expanded ({name}).", param="expand")
            if isinstance(value[name], str):
                if value[name] not in self.by_id:
                    raise Refused(f"This property cannot be expanded ({name}).", param="expand")
                value[name] = copy.deepcopy(self.by_id[value[name]])
            if rest:
                self._expand(value[name], rest)


def _previous(before: Mapping[str, Any], after: Mapping[str, Any]) -> Json:
    """What changed, as it was; null where there was nothing."""
    found: Json = {}
    for name in {**before, **after}:
        old, new = before.get(name), after.get(name)
        if old != new:
            if isinstance(old, dict) and isinstance(new, dict):
                found[name] = _previous(old, new)
            else:
                found[name] = copy.deepcopy(old)
    return found
