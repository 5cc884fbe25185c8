"""Decides on every request: by what is at hand if that is enough, else by asking."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace
from nats.aio.client import Client

from edge import metrics
from edge.admission.allowance import KEPT_S, Allowance
from edge.admission.counters import Counters
from edge.admission.headers import Headers, limit_headers
from edge.admission.rule import Limit, Rule
from edge.admission.terms import Maker, Path, Terms
from edge.admission.true_up import TrueUp
from edge.auth import Caller
from edge.errors import EdgeError, NotInPlan, NotInScope
from edge.plans import RunningPlans
from events.accounts import Account
from events.direct import Direct
from events.plans import Plan
from events.usage import Quantities
from ledger.db import Pool

log = structlog.get_logger()

TICK_S: Final = 0.5
FORGET_S: Final = 300.0  # an account that nobody asked for
ONE: Final = Quantities()


class Admitted:
    """A request that may run, and what is set aside for it."""

    __slots__ = ("_path", "_taken", "at_ms", "terms")

    def __init__(self, terms: Terms, path: Path, at_ms: int) -> None:
        self.terms = terms
        self.at_ms = at_ms
        self._path = path
        self._taken: list[tuple[Rule, Allowance, int]] = []

    def take(self, rule: Rule, allowance: Allowance, amount: int) -> None:
        """Note what was taken for it."""
        self._taken.append((rule, allowance, amount))

    def cost(self, used: Quantities) -> int:
        """What it costs, in billionths of the currency's unit."""
        return sum(rate * getattr(used, unit) for unit, rate in self.terms.rates)

    def priced(self, used: Quantities) -> Quantities:
        """The same, with what it costs."""
        return replace(used, cost=self.cost(used)) if self.terms.rates else used

    async def settle(self, used: Quantities) -> None:
        """Count what it did use, durably where that is held first. Before it is metered.

        Raises:
            BrokerAway, DeadlinePassed: it is not known to be counted, and must not be
                answered.
        """
        for rule, allowance, amount in self._taken:
            if not rule.by_request:
                await allowance.settle(amount, rule.amount(used, used.cost))

    def refund(self, *, unused: bool) -> None:
        """Nothing of it will be billed: free what was set aside for it.

        Args:
            unused: Whether it is certain, too, that nothing runs on for it. If it is
                not, the request itself stays counted.
        """
        for rule, allowance, amount in self._taken:
            if rule.unit != "concurrency" and (unused or not rule.by_request):
                allowance.give_back(amount)

    def end(self) -> None:
        """It runs no more: free its slot. Always."""
        for rule, allowance, amount in self._taken:
            if rule.unit == "concurrency":
                allowance.give_back(amount)

    def headers(self) -> Headers:
        """What its response says about its limits."""
        return limit_headers(self._path.rules, self._path.policies, self.at_ms)


class Admission:
    """Every account's rules, as far as this edge was asked.

    Args:
        connection: Connected, or on its way back.
        direct: Reads the counters.
        pool: For what only the ledger knows.
        plans: As they are at each moment.
        hold_s: The longest that a request may take, from here to its answer.
    """

    def __init__(
        self,
        connection: Client,
        direct: Direct,
        pool: Pool,
        plans: RunningPlans,
        *,
        hold_s: float,
    ) -> None:
        self._plans = plans
        self._counters = Counters(connection, direct)
        self._generation = 0
        self._lost_ms = 0.0  # then what is held here is forgotten, unless `run` is alive
        self._terms: dict[UUID, Terms] = {}
        self._open: set[Allowance] = set()
        self._tasks: asyncio.TaskGroup | None = None
        true_up = TrueUp(connection, self._counters, direct, pool, hold_s=hold_s)
        self._maker = Maker(self._counters, true_up, self._spawn, hold_s)

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        assert self._tasks is not None
        self._tasks.create_task(work)

    async def admit(
        self,
        caller: Caller,
        model: str,
        task: str,
        request_id: UUID,
        measure: Callable[[], Quantities],
    ) -> Admitted:
        """Let a request run, or refuse it.

        Args:
            caller: Whose it is.
            model: What it asks.
            task: For what.
            request_id: Its time says which windows it counts in.
            measure: The most that it can use; called only where a limit needs it.

        Raises:
            NotInPlan, NotInScope: answered 403.
            RateLimited, TooManyAtOnce: answered 429.
            BudgetExhausted: answered 402.
            BrokerAway, LedgerAway: answered 503; nobody knows whether it may.
        """
        at_ms = request_id.int >> 80
        now_ms = time.time() * 1_000
        if now_ms > self._lost_ms or self._counters.generation != self._generation:
            self._lose_all(now_ms)
        terms = self._terms_of(caller.account)
        path = terms.path(caller.key.id, model, task)
        admitted = Admitted(terms, path, at_ms)
        most, cost = ONE, 0
        if path.measured:
            most = measure()
            cost = admitted.cost(most)
        for rule in path.rules:
            amount = 1 if rule.by_request else rule.amount(most, cost)
            allowance = rule.allowance(at_ms, now_ms)
            if allowance.free >= amount:
                allowance.free -= amount
            elif not await self._obtain(rule, allowance, amount, admitted):
                if rule.shadow:
                    continue
                admitted.refund(unused=True)
                admitted.end()
                metrics.REFUSED.labels(rule.name).inc()
                refusal = rule.refusal(amount, at_ms)
                refusal.headers = admitted.headers()
                raise refusal
            admitted.take(rule, allowance, amount)
        return admitted

    async def _obtain(
        self, rule: Rule, allowance: Allowance, amount: int, admitted: Admitted
    ) -> bool:
        if amount > allowance.limit:
            return False
        self._open.add(allowance)
        admitted.terms.used_at = time.monotonic()
        try:
            obtained = await allowance.obtain(amount)
        except BaseException:
            admitted.refund(unused=True)
            admitted.end()
            raise
        if not obtained and rule.shadow:
            metrics.SHADOW_REFUSED.labels(rule.name).inc()
        return obtained

    def require(self, caller: Caller, model: str, task: str) -> None:
        """See that the plan has the model, and that the key is for it.

        Raises:
            NotInPlan, NotInScope: answered 403.
        """
        scope = caller.key.scope
        if scope and model not in scope and task not in scope:
            message = f"key {caller.key.id} is only for: {', '.join(scope)}"
            raise NotInScope(message)
        plan = self.plan(caller)
        if not plan.allows(model):
            allowed = ", ".join(plan.models or ()) or "none"
            message = f"plan {plan.name!r} does not include {model!r}; it includes: {allowed}"
            raise NotInPlan(message, policy=plan.name)

    def plan(self, caller: Caller) -> Plan:
        """What the caller is on."""
        return self._plans.of(caller.account)

    async def limits(self, caller: Caller, at_ms: int) -> Sequence[Limit]:
        """Every limit that concerns a key, as the counters have it now.

        Raises:
            BrokerAway: they cannot be read.
        """
        rules = self._terms_of(caller.account).rules(caller.key.id)
        for rule in rules:
            allowance = rule.allowance(at_ms, time.time() * 1_000)
            await allowance.refresh()
        return [rule.state(at_ms) for rule in rules]

    def _terms_of(self, account: Account) -> Terms:
        terms = self._terms.get(account.id)
        plan = self._plans.of(account)
        if terms is not None and terms.account is account and terms.plan is plan:
            return terms
        if terms is not None:
            _retire(terms.allowances())
        terms = self._terms[account.id] = Terms(account, plan, self._maker)
        terms.used_at = time.monotonic()
        return terms

    def _lose_all(self, now_ms: float) -> None:
        """Forget what is at hand: it may be somebody else's by now.

        The broker may have been killed since, and have forgotten that it was granted; or
        this process stood still for so long that it was taken for dead.
        """
        self._generation = self._counters.generation
        self._lost_ms = now_ms + KEPT_S * 1_000
        for terms in self._terms.values():
            for allowance in terms.allowances():
                allowance.lose()
        self._open.clear()

    async def run(self) -> None:
        """Return what lies idle, for ever; what is spawned here ends with it."""
        async with asyncio.TaskGroup() as self._tasks:
            while True:
                await asyncio.sleep(TICK_S)
                now_ms = time.time() * 1_000
                if now_ms < self._lost_ms:
                    self._lost_ms = now_ms + KEPT_S * 1_000
                for allowance in list(self._open):
                    try:
                        if await allowance.give_up_if_idle():
                            self._open.discard(allowance)
                    except EdgeError as error:
                        log.warning("not_given_up", error=repr(error))
                self._forget_idle_accounts()

    async def give_up(self) -> None:
        """Return everything that is at hand: this edge is leaving."""
        for terms in self._terms.values():
            for allowance in terms.allowances():
                await allowance.give_up()

    def _forget_idle_accounts(self) -> None:
        long_ago = time.monotonic() - FORGET_S
        idle = [
            account_id
            for account_id, terms in self._terms.items()
            if terms.used_at < long_ago and not any(one.free for one in terms.allowances())
        ]
        for account_id in idle:
            del self._terms[account_id]


def _retire(allowances: Iterable[Allowance]) -> None:
    for allowance in allowances:
        allowance.retire()
