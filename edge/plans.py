"""The plans as they are now: the file is read again when it changes."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog

from edge import metrics
from edge.errors import InvalidInput
from events.accounts import Account
from events.errors import BadPlansFile
from events.plans import DEFAULT, UNLIMITED, Plan, read_plans

log = structlog.get_logger()

LOOK_S: Final = 1.0


class RunningPlans:
    """Plans by name; a file with a mistake leaves them as they were.

    Args:
        path: The plans file; without one everybody may do everything.

    Raises:
        BadPlansFile: the file cannot be used, and there are no plans to go on with.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = _stamp(path)
        self.plans = UNLIMITED if path is None else read_plans(path)
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
        while True:
            await asyncio.sleep(LOOK_S)
            stamp = _stamp(self._path)
            if self._path is None or stamp == self._seen:
                continue
            self._seen = stamp
            try:
                self.plans = await asyncio.to_thread(read_plans, self._path)
            except BadPlansFile as error:
                log.error("plans_refused", error=str(error))
                metrics.PLANS_REFUSED.set(1)
            else:
                self._missing.clear()
                metrics.PLANS_REFUSED.set(0)
                log.info("plans_read", plans=list(self.plans))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes whenever the file does; None where there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)
