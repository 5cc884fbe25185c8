"""What an account and its plan come to: rules, and which of them a request must get past."""

from collections.abc import Callable, Iterator, Sequence

import structlog
from msgspec import Struct

from edge.admission.alerts import Alerts
from edge.admission.allowance import Allowance, Keeper
from edge.admission.counters import Counters
from edge.admission.headers import policy_header
from edge.admission.hold import Hold, Spent
from edge.admission.lease import Lease
from edge.admission.rule import CONCURRENCY, Rule
from edge.admission.true_up import LedgerOf, TrueUp
from events import counters as names
from events.accounts import Account
from events.plans import Plan, Plans, Policy, money
from events.usage import Quantities
from events.windows import Span, Window
from ledger.usage import Measured

log = structlog.get_logger()

MONTHLY_BUDGET = "monthly_budget"
CREDIT = "credit"


class Maker(Struct, frozen=True):
    """What allowances are made with."""

    counters: Counters
    true_up: TrueUp
    keeper: Keeper
    hold_s: float
    alerts: Alerts

    def hold(
        self,
        stream: str,
        base: str,
        limit: int,
        span: Span,
        ledger: LedgerOf | None,
        *,
        tell: Callable[[int], None] | None = None,
    ) -> Hold:
        """A part of what may be used up; `tell` hears of each new total."""
        return Hold(
            self.keeper,
            self.counters,
            stream,
            base,
            limit=limit,
            span=span,
            spent=Spent(self.keeper.spawn, self.counters, f"{base}.spent", tell=tell),
            ledger=ledger,
            hold_s=self.hold_s,
        )


class Terms:
    """One account's rules, as its plan and its own agreement have them."""

    def __init__(self, account: Account, plan: Plan, maker: Maker) -> None:
        self.account = account
        self.plan = plan
        self._maker = maker
        self._rules: dict[tuple[str, str], Rule] = {}  # by scope and name
        self.rates: dict[str, int] = dict(plan.rates())

    def checks(self, key_id: str, model: str, task: str, plans: Plans) -> "Checks":
        """What a request by this key, for this task of this model, must get past."""
        return Checks(self, list(self._all(key_id, model, task)), plans)

    def cost(self, used: Quantities) -> int:
        """What it costs, in billionths of the currency's unit."""
        return sum(rate * getattr(used, unit) for unit, rate in self.rates.items())

    def rules(self, key_id: str) -> Sequence[Rule]:
        """Every rule that may concern a key."""
        return list(self._all(key_id, None, None))

    def allowances(self) -> Iterator[Allowance]:
        """Everything that its rules have in hand."""
        for rule in self._rules.values():
            yield from rule.held()

    def _all(self, key_id: str, model: str | None, task: str | None) -> Iterator[Rule]:
        """In order of cost: slots are free again soon, budgets take two questions."""
        account, plan = self.account, self.plan
        concurrency = account.concurrency if account.concurrency is not None else plan.concurrency
        if concurrency is not None:
            yield self._slots(concurrency)
        policies = [
            policy
            for policy in plan.policy
            if model is None or task is None or policy.covers(model, task)
        ]
        for policy in sorted(policies, key=names.is_held):
            yield self._rule(policy, key_id)
        budget = account.monthly_budget
        if budget is None and plan.monthly_budget is not None:
            budget = money(plan.monthly_budget)
        budgets = [limit for limit in (budget, account.own_budget) if limit is not None]
        if budgets:
            yield self._budget(MONTHLY_BUDGET, min(budgets), "month")
        if plan.prepaid:
            yield self._budget(CREDIT, max(0, account.credit), None)

    def _slots(self, limit: int) -> Rule:
        maker, subject = self._maker, names.slots(str(self.account.id))

        def make(span: Span) -> Allowance:
            return Hold(
                maker.keeper,
                maker.counters,
                names.RATES,
                subject,
                limit=limit,
                span=span,
                spent=None,
                ledger=None,
                hold_s=maker.hold_s,
            )

        return self._keep(
            "",
            Rule(
                name=CONCURRENCY,
                unit=CONCURRENCY,
                limit=limit,
                window=None,
                shadow=False,
                money=False,
                make=make,
            ),
        )

    def _rule(self, policy: Policy, key_id: str) -> Rule:
        limit = self._limit(policy)
        per_key = policy.per == "key"
        scope = key_id if per_key else str(self.account.id)
        stream = names.stream_of(policy, limit)
        measured = Measured(
            account_id=self.account.id,
            unit=policy.unit,
            key_id=key_id if per_key else None,
            only=policy.only,
        )
        maker = self._maker
        name = f"{policy.name}-{policy.unit}"
        held = names.is_held(policy)

        def make(span: Span) -> Allowance:
            base = names.base(stream, policy.window, span, scope, name)
            ledger = None
            if policy.window != "minute":  # the ledger's totals are of hours
                ledger = LedgerOf(maker.true_up, span, measured)
            if held:
                return maker.hold(stream, base, limit, span, ledger)
            return Lease(
                maker.keeper, maker.counters, stream, base, limit=limit, span=span, ledger=ledger
            )

        return self._keep(
            scope,
            Rule(
                name=policy.name,
                unit=policy.unit,
                limit=limit,
                window=policy.window,
                shadow=policy.shadow,
                money=False,
                make=make,
            ),
        )

    def _limit(self, policy: Policy) -> int:
        try:
            return policy.most(self.account.limits.get(policy.name))
        except ValueError as error:  # it was agreed on when the policy was of another kind
            log.warning("own_limit_unfit", account_id=str(self.account.id), error=str(error))
            return policy.most()

    def _budget(self, name: str, limit: int, window: Window | None) -> Rule:
        """Money that must not be overspent: in a month, or what was paid in advance."""
        account_id, maker = self.account.id, self._maker
        measured = Measured(account_id=account_id, unit="cost")

        def make(span: Span) -> Allowance:
            base = names.base(names.QUOTAS, window or "ever", span, str(account_id), name)
            ledger = LedgerOf(maker.true_up, span, measured)

            def tell(spent: int) -> None:
                maker.alerts.spent(account_id, name, span, spent=spent, limit=limit)

            return maker.hold(names.QUOTAS, base, limit, span, ledger, tell=tell)

        def refused(span: Span, spent: int) -> None:
            maker.alerts.refused(account_id, name, span, spent=spent, limit=limit)

        return self._keep(
            "",
            Rule(
                name=name,
                unit="cost",
                limit=limit,
                window=window,
                shadow=False,
                money=True,
                make=make,
                refused=refused,
            ),
        )

    def _keep(self, scope: str, made: Rule) -> Rule:
        return self._rules.setdefault((scope, made.name), made)


class Checks:
    """The rules that one kind of request must get past, in this order."""

    __slots__ = ("account", "measured", "plan", "plans", "policies", "rules", "terms")

    def __init__(self, terms: Terms, rules: Sequence[Rule], plans: Plans) -> None:
        self.plans = plans  # by which it holds: until there are others
        self.terms = terms
        self.account = terms.account
        self.plan = terms.plan
        self.rules = rules
        self.measured = any(not rule.by_request for rule in rules)
        self.policies = policy_header(rules)
