"""Decides on every request: by what is at hand if that is enough, else by asking."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client

from edge import metrics
from edge.admission.alerts import Alerts
from edge.admission.allowance import Allowance
from edge.admission.counters import Counters
from edge.admission.headers import Headers, limit_headers
from edge.admission.rule import CONCURRENCY, Limit, Rule
from edge.admission.terms import Checks, Maker, Terms
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
STILL_S: Final = 10.0  # a process that stood still for longer may have been taken for dead
FORGET_S: Final = 60.0
MAX_CHECKS: Final = 200_000
ONE: Final = Quantities()


class Admitted(Struct, gc=False):
    """A request that may run, and what is set aside for it."""

    checks: Checks
    at_ms: int
    taken: list[tuple[Rule, Allowance, int]]

    @property
    def plan(self) -> Plan:
        """The plan that it is admitted by."""
        return self.checks.plan

    @property
    def rates(self) -> dict[str, int]:
        """What one of each charged quantity costs, in billionths."""
        return self.checks.terms.rates

    def priced(self, used: Quantities) -> Quantities:
        """The same, with what it costs."""
        return replace(used, cost=self.checks.terms.cost(used)) if self.rates else used

    async def settle(self, used: Quantities) -> None:
        """Count what it did use, durably where that is held first. Before it is metered.

        Raises:
            BrokerAway, DeadlinePassed: it is not known to be counted, and must not be
                answered.
        """
        for rule, allowance, amount in self.taken:
            if not rule.by_request:
                await allowance.settle(amount, rule.amount(used, used.cost))

    def refund(self, *, unused: bool) -> None:
        """Nothing of it will be billed: free what was set aside for it.

        Args:
            unused: Whether it is certain, too, that nothing runs on for it. If it is
                not, the request itself stays counted.
        """
        for rule, allowance, amount in self.taken:
            if rule.unit != CONCURRENCY and (unused or not rule.by_request):
                allowance.give_back(amount)

    def end(self) -> None:
        """It runs no more: free its slot. Always."""
        for rule, allowance, amount in self.taken:
            if rule.unit == CONCURRENCY:
                allowance.give_back(amount)

    def headers(self) -> Headers:
        """What its response says about its limits."""
        return limit_headers(self.checks.rules, self.checks.policies, time.time() * 1_000)


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
        self._stats = self._counters.stats
        self._terms: dict[UUID, Terms] = {}
        self._checks: dict[tuple[str, str, str], Checks] = {}  # by key, model and task
        self._open: set[Allowance] = set()  # those that may have something to return
        self._forget_at = time.monotonic() + FORGET_S
        self._tasks: asyncio.TaskGroup | None = None
        true_up = TrueUp(connection, self._counters, direct, pool, hold_s=hold_s)
        self._alerts = Alerts(pool)
        self._maker = Maker(self._counters, true_up, self, hold_s, self._alerts)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Have something done; it ends with `run`."""
        assert self._tasks is not None
        self._tasks.create_task(work)

    def look_after(self, allowance: Allowance) -> None:
        """Have what an allowance does not use returned."""
        self._open.add(allowance)

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
        if now_ms > self._lost_ms or self._stats["reconnects"] != self._generation:
            self._lose_all(now_ms)
        checks = self._checks.get((caller.key.id, model, task))
        if (
            checks is None
            or checks.account is not caller.account
            or checks.plans is not self._plans.plans
        ):
            checks = self.checks(caller, model, task)
        most, cost = ONE, 0
        if checks.measured:
            most = measure()
            cost = checks.terms.cost(most)
        taken: list[tuple[Rule, Allowance, int]] = []
        for rule in checks.rules:
            amount = 1 if rule.by_request else rule.amount(most, cost)
            allowance = rule.current
            if (
                allowance.free >= amount
                and allowance.start_ms <= at_ms < allowance.end_ms
                and now_ms < allowance.usable_ms
            ):
                allowance.free -= amount
            else:
                allowance = rule.allowance(at_ms, now_ms)
                if not await self._obtain(Admitted(checks, at_ms, taken), rule, allowance, amount):
                    continue
            taken.append((rule, allowance, amount))
        return Admitted(checks, at_ms, taken)

    async def _obtain(
        self, admitted: Admitted, rule: Rule, allowance: Allowance, amount: int
    ) -> bool:
        """Take what is not at hand; False where it is not to be had and that is no matter.

        Raises:
            EdgeError: it is not to be had; what was taken so far is given back.
        """
        try:
            if await allowance.obtain(amount):
                return True
        except BaseException:
            _give_back(admitted)
            raise
        if rule.shadow:
            metrics.SHADOW_REFUSED.labels(rule.name).inc()
            return False
        _give_back(admitted)
        metrics.REFUSED.labels(rule.name).inc()
        refusal = rule.refusal(amount, admitted.at_ms)
        refusal.headers = admitted.headers()
        raise refusal

    def checks(self, caller: Caller, model: str, task: str) -> Checks:
        """What a request must get past, as of now."""
        now_ms = time.time() * 1_000
        if now_ms > self._lost_ms or self._stats["reconnects"] != self._generation:
            self._lose_all(now_ms)
        if len(self._checks) >= MAX_CHECKS:
            self._checks.clear()
        checks = self._terms_of(caller.account).checks(
            caller.key.id, model, task, self._plans.plans
        )
        self._checks[caller.key.id, model, task] = checks
        return checks

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
        return terms

    def _lose_all(self, now_ms: float) -> None:
        """Forget what is at hand: it may be somebody else's by now.

        The broker may have been killed since, and have forgotten that it was granted; or
        this process stood still for so long that it was taken for dead.
        """
        self._generation = self._stats["reconnects"]
        self._lost_ms = now_ms + STILL_S * 1_000
        for terms in self._terms.values():
            for allowance in terms.allowances():
                allowance.lose()
        self._open.clear()

    async def run(self) -> None:
        """Return what lies idle, for ever; what is spawned here ends with it."""
        async with asyncio.TaskGroup() as self._tasks:
            self._tasks.create_task(self._alerts.run())
            while True:
                await asyncio.sleep(TICK_S)
                now_ms = time.time() * 1_000
                if now_ms < self._lost_ms:
                    self._lost_ms = now_ms + STILL_S * 1_000
                for allowance in list(self._open):
                    try:
                        if await allowance.tend():
                            self._open.discard(allowance)
                    except EdgeError as error:
                        log.warning("not_tended", error=repr(error))
                self._forget()

    async def give_up(self) -> None:
        """Return everything that is at hand: this edge is leaving."""
        for terms in self._terms.values():
            for allowance in terms.allowances():
                await allowance.give_up()

    def _forget(self) -> None:
        """Let go of accounts for whom nothing is at hand, now and then.

        Who comes again starts anew, from the counters.
        """
        if time.monotonic() < self._forget_at:
            return
        self._forget_at = time.monotonic() + FORGET_S
        for account_id, terms in list(self._terms.items()):
            if not any(one.free or one in self._open for one in terms.allowances()):
                del self._terms[account_id]
        self._checks = {
            name: checks
            for name, checks in self._checks.items()
            if checks.account.id in self._terms
        }


def _give_back(admitted: Admitted) -> None:
    admitted.refund(unused=True)
    admitted.end()


def _retire(allowances: Iterable[Allowance]) -> None:
    for allowance in allowances:
        allowance.retire()
