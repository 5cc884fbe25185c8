"""The plans as they are now, and what an account may have of them."""

from collections.abc import Mapping
from pathlib import Path

import structlog

from edge.errors import InvalidInput
from events.accounts import Account
from events.plans import DEFAULT, Plan
from events.plans_file import PlansFile

log = structlog.get_logger()


class RunningPlans(PlansFile):
    """Plans by name, of a file that may change. Raises as `PlansFile` does."""

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self._missing: set[str] = set()

    def of(self, account: Account) -> Plan:
        """An account's plan; the default one where its own has gone."""
        plan = self.plans.get(account.plan)
        if plan is not None:
            return plan
        if account.plan not in self._missing:
            self._missing.add(account.plan)
            log.error("plan_missing", plan=account.plan, instead=DEFAULT)
        return self.plans[DEFAULT]

    def require(self, name: str) -> None:
        """See that there is a plan of this name.

        Raises:
            InvalidInput: there is none.
        """
        if name not in self.plans:
            message = f"there is no plan {name!r}; there are: {', '.join(self.plans)}"
            raise InvalidInput(message, param="plan")

    def require_limits(self, limits: Mapping[str, int | str]) -> None:
        """See that some plan has a policy of each name, and could have its limit.

        Raises:
            InvalidInput: none has.
        """
        policies = [policy for plan in self.plans.values() for policy in plan.policy]
        for name, limit in limits.items():
            fitting = [policy for policy in policies if policy.name == name]
            if not fitting:
                raise InvalidInput(f"no plan has a policy {name!r}", param=f"limits.{name}")
            try:
                for policy in fitting:
                    policy.most(limit)
            except ValueError as error:
                raise InvalidInput(f"{name}: {error}", param=f"limits.{name}") from error

    async def watch(self) -> None:
        """Take up changes of the file, for ever."""
        async for _ in self.changes():
            self._missing.clear()
