"""One limit of one account, through all its windows."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Final

from msgspec import Struct

from edge.admission.allowance import NOTHING, Allowance
from edge.errors import BudgetExhausted, EdgeError, RateLimited, TooManyAtOnce
from events.plans import show_money
from events.usage import Quantities
from events.windows import EVER, Span, Window, span

CONCURRENCY: Final = "concurrency"  # no unit of a policy's, and the name of its own rule

#: What a rule counts by a fixed one for each request; everything else is measured.
BY_REQUEST: Final = frozenset({"requests", CONCURRENCY})


class Limit(Struct, frozen=True, kw_only=True):
    """What a rule says, put plainly. `limit`, `used` and `remaining` are of `unit`."""

    name: str
    unit: str
    limit: int
    used: int
    remaining: int
    window: str | None
    resets_at: float | None  # Unix seconds
    shadow: bool


class Rule:
    """Keeps the present window's allowance, and one more for who comes late.

    Args:
        name: The policy's, as callers see it.
        unit: What is counted; one of a plan's units, or ``concurrency``.
        limit: How much of it, in each window.
        window: None where nothing resets.
        shadow: Whether it only pretends.
        money: Whether it is a budget, of which 402 speaks.
        make: Makes a window's allowance.
        refused: Told of each refusal for it, with the window and what was used.
    """

    __slots__ = (
        "_refused",
        "by_request",
        "current",
        "label",
        "limit",
        "make",
        "money",
        "name",
        "previous",
        "shadow",
        "unit",
        "window",
    )

    def __init__(
        self,
        *,
        name: str,
        unit: str,
        limit: int,
        window: Window | None,
        shadow: bool,
        money: bool,
        make: Callable[[Span], Allowance],
        refused: Callable[[Span, int], None] | None = None,
    ) -> None:
        self.name = name
        self.unit = unit
        self.limit = limit
        self.window = window
        self.shadow = shadow
        self.money = money
        self.by_request = unit in BY_REQUEST
        self.label = f'"{name}";r='  # as the RateLimit header begins it
        self.make = make
        self._refused = refused
        self.current: Allowance = NOTHING
        self.previous: Allowance = NOTHING

    def allowance(self, at_ms: int, now_ms: float) -> Allowance:
        """What a request of `at_ms` is to be counted against, at `now_ms`."""
        for allowance in (self.current, self.previous):
            if (
                allowance.start_ms <= at_ms < allowance.end_ms
                and now_ms < allowance.usable_ms
                and allowance is not NOTHING
            ):
                return allowance
        made = self.make(self._span(at_ms))
        current, replaced = self.current, self.previous
        if at_ms < current.start_ms and current is not NOTHING:
            self.previous = made  # for who comes late
        else:
            if current.start_ms == made.start_ms:
                made.used = current.used
            self.previous, self.current = current, made
        if replaced is not NOTHING:
            replaced.retire()
        return made

    def held(self) -> Iterator[Allowance]:
        """Everything that it has in hand."""
        for allowance in (self.current, self.previous):
            if allowance is not NOTHING:
                yield allowance

    def _span(self, at_ms: int) -> Span:
        return EVER if self.window is None else span(self.window, at_ms)

    def amount(self, quantities: Quantities, cost: int) -> int:
        """How much of the unit these quantities are."""
        if self.by_request:
            return 1
        return cost if self.unit == "cost" else int(getattr(quantities, self.unit))

    def refusal(self, amount: int, at_ms: int) -> EdgeError:
        """What to tell a caller who is refused."""
        remaining = self.current.remaining
        if self._refused is not None and amount <= self.limit:
            self._refused(self._span(at_ms), self.limit - remaining)
        if self.unit == CONCURRENCY:
            message = f"{self.limit} requests of this account run already; wait for one of them"
            return TooManyAtOnce(message, policy=self.name, retry_after_s=1)
        if amount > self.limit:  # no use in waiting
            needs = f"the request may use {self._show(amount)}, more than is ever allowed"
            retry = None
        else:
            needs = f"the request may use {self._show(amount)}"
            retry = None if self.window is None else self.resets_in(at_ms)
        each = f" each {self.window}" if self.window else ""
        left = f"{self._show(self.limit)}{each}, of which {self._show(remaining)} is left"
        if self.money:
            message = f"budget {self.name!r} is {left}; {needs}"
            return BudgetExhausted(message, policy=self.name, retry_after_s=retry)
        if self.by_request:
            message = f"limit {self.name!r} is {self.limit:,} requests each {self.window}"
        else:
            message = f"limit {self.name!r} is {left}; {needs}"
        refused = RateLimited(message, policy=self.name, retry_after_s=retry)
        refused.final = retry is None
        return refused

    def _show(self, amount: int) -> str:
        if self.unit == "cost":
            return show_money(amount)
        return f"{amount:,} {self.unit.replace('_', ' ')}"

    def resets_in(self, at_ms: int) -> int:
        """Seconds until the window of `at_ms` is over, by this edge's clock, rounded up."""
        left_ms = self._span(at_ms).end_ms - time.time() * 1_000
        return max(1, math.ceil(left_ms / 1_000))

    def state(self, at_ms: int) -> Limit:
        """What the rule says, and how much of it is gone as far as this edge knows."""
        remaining = self.allowance(at_ms, time.time() * 1_000).remaining
        return Limit(
            name=self.name,
            unit=self.unit,
            limit=self.limit,
            used=self.limit - remaining,
            remaining=remaining,
            window=self.window,
            resets_at=self._span(at_ms).end_ms / 1_000 if self.window else None,
            shadow=self.shadow,
        )
