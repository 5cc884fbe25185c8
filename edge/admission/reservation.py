"""What is set aside for a stream: nobody knows how much it will use."""

import asyncio
import time
from collections.abc import Sequence

from msgspec import Struct

from edge import metrics
from edge.admission.admission import Admission, Admitted
from edge.admission.allowance import Allowance
from edge.admission.rule import CONCURRENCY, Rule
from edge.auth import Caller
from events.usage import NOTHING, Quantities


class _Held(Struct, eq=False):
    rule: Rule
    allowance: Allowance
    amount: int = 0  # set aside, and not yet counted as used
    settled: int = 0  # counted as used

    def give_back(self) -> None:
        amount, self.amount = self.amount, 0
        self.allowance.give_back(amount)

    @property
    def is_slot(self) -> bool:
        return self.rule.unit == CONCURRENCY


class Reservation:
    """Grows ahead of what is delivered, and is settled part by part.

    A hold lasts about as long as a request may; so what is left of it moves to a later
    one in time, and the stream's slot with it. A stream counts in the windows in which
    it began.

    Args:
        admission: Whose limits they are.
        admitted: What the stream was admitted with; it is this object's from now on.
    """

    def __init__(self, admission: Admission, admitted: Admitted) -> None:
        self._admission = admission
        self._admitted = admitted
        self._held = [
            _Held(rule, allowance, amount)
            for rule, allowance, amount in admitted.taken
            if _lasts(rule)
        ]
        self._covered = NOTHING
        self._settled = NOTHING
        self._lock = asyncio.Lock()  # an allowance must not be replaced while it is asked

    async def cover(self, used: Quantities) -> None:
        """See that there is enough for all that is used, before it is delivered.

        Args:
            used: Since the stream began.

        Raises:
            RateLimited, BudgetExhausted: there is no more.
            BrokerAway, LedgerAway: nobody knows.
        """
        for held in list(self._held):
            if not held.is_slot and _lacking(held, used) > 0:
                async with self._lock:
                    if (lacking := _lacking(held, used)) > 0:
                        await self._take(held, lacking)
        self._covered = used

    async def _take(self, held: _Held, amount: int) -> None:
        if held.allowance.lost:
            await self._move(held)
        if held.allowance.free >= amount:
            held.allowance.free -= amount
        elif not await held.allowance.obtain(amount):
            if not held.rule.shadow:
                metrics.REFUSED.labels(held.rule.name).inc()
                raise held.rule.refusal(amount, self._admitted.at_ms)
            metrics.SHADOW_REFUSED.labels(held.rule.name).inc()
            held.give_back()
            self._held.remove(held)
            return
        held.amount += amount

    async def settle(self, used: Quantities) -> None:
        """Count what is used, as `Admitted.settle` does; less than before takes it back.

        Args:
            used: Since the stream began.

        Raises:
            BrokerAway, DeadlinePassed: it is not known to be counted.
        """
        for held in self._held:
            part = 0 if held.is_slot else held.rule.amount(used, used.cost) - held.settled
            if part:
                of_held = max(0, min(held.amount, part))
                held.amount -= of_held
                held.settled += part
                await held.allowance.settle(of_held, part)
        self._settled = used

    async def renew(self, caller: Caller, model: str, task: str) -> None:
        """Keep what is set aside from expiring, and by the limits as they are now.

        To be called every second or so.

        Args:
            caller: As it is now.
            model: What it asks.
            task: For what.

        Raises:
            RateLimited, BudgetExhausted: a limit was lowered, and there is no more.
            BrokerAway, LedgerAway: nobody knows.
        """
        async with self._lock:
            await self._change(self._admission.checks(caller, model, task).rules)
            now_ms = time.time() * 1_000
            for held in self._held:
                if held.allowance.lost or held.allowance.usable_ms <= now_ms:
                    await self._move(held)

    async def _change(self, rules: Sequence[Rule]) -> None:
        """Go by other rules; those of the same name count on."""
        before = {held.rule.name: held for held in self._held}
        for rule in filter(_lasts, rules):
            held = before.pop(rule.name, None)
            if held is None or held.rule.unit != rule.unit:
                settled = 0 if rule.unit == CONCURRENCY else self._used(rule)
                added = _Held(rule, self._allowance(rule), settled=settled)
                self._held.append(added)
                if added.is_slot:
                    await added.allowance.adopt(1)
                    added.amount = 1
            elif held.rule is not rule:
                held.rule = rule
                await self._move(held)
        for held in before.values():
            held.give_back()
            self._held.remove(held)

    def _used(self, rule: Rule) -> int:
        return rule.amount(self._settled, self._settled.cost)

    async def _move(self, held: _Held) -> None:
        """Have what is set aside in an allowance that lasts longer, or has another limit."""
        old, held.allowance = held.allowance, self._allowance(held.rule)
        if held.is_slot or (not old.lost and old.limit == held.allowance.limit):
            # granted already: nobody loses a slot that he has because they became scarce
            await held.allowance.adopt(held.amount)
            old.give_back(held.amount)
            return
        amount, held.amount = held.amount, 0
        old.give_back(amount)
        if (lacking := _lacking(held, self._covered)) > 0:
            await self._take(held, lacking)

    def _allowance(self, rule: Rule) -> Allowance:
        return rule.allowance(self._admitted.at_ms, time.time() * 1_000)

    def end(self) -> None:
        """It runs no more: give back all that was not used."""
        for held in self._held:
            held.give_back()
        self._held.clear()


def _lasts(rule: Rule) -> bool:
    """Whether something of it stays set aside while a request runs."""
    return rule.unit == CONCURRENCY or not rule.by_request


def _lacking(held: _Held, used: Quantities) -> int:
    return held.rule.amount(used, used.cost) - held.settled - held.amount
