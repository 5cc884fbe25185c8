"""Whatever happens between the stream and the ledger, totals are a fold of distinct events."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.stateful import run_state_machine_as_test as run

from events.ids import new_id
from events.usage import Quantities, UsageEvent, UsageVoided
from ledger.usage import fold_usage
from ledger.verification import HOUR, full_hour, rebuild_totals
from tests.ledger.test_reports import at
from tests.usage import recorded, voided

NOW = full_hour(datetime.now(UTC))
ACCOUNTS = (new_id(), new_id())


class Ledger(RuleBasedStateMachine):
    """Events are stated, come in any order, late and often; consumers crash; totals are rebuilt."""

    stated = Bundle("stated")
    url = ""
    runner: asyncio.Runner

    def __init__(self) -> None:
        super().__init__()
        self.folded: dict[tuple[UUID, bool], UsageEvent] = {}

    @initialize()
    def connect(self) -> None:
        self.connection = self._await(asyncpg.connect(self.url))
        self._await(self.connection.execute("TRUNCATE usage_events, usage_totals"))

    def teardown(self) -> None:
        self._await(self.connection.close())

    def _await(self, awaitable: Any) -> Any:
        async def wait() -> Any:
            return await awaitable

        return self.runner.run(wait())

    @rule(
        target=stated,
        account=st.sampled_from(ACCOUNTS),
        model=st.sampled_from(["a", "b"]),
        tokens=st.integers(0, 2**40),
        late=st.integers(0, 40 * 24),
        is_voided=st.booleans(),
    )
    def state(self, account: UUID, model: str, tokens: int, late: int, *, is_voided: bool) -> Any:
        usage = at(NOW - timedelta(hours=late), account, model=model, output_tokens=tokens)
        return [recorded(usage), voided(usage)] if is_voided else [recorded(usage)]

    @rule(batch=st.lists(stated, max_size=6), data=st.data())
    def deliver(self, batch: Sequence[Sequence[UsageEvent]], data: st.DataObject) -> None:
        """Each of them perhaps twice, in any order; a void perhaps before its record."""
        events = [event for group in batch for event in group]
        events = data.draw(st.permutations(events + data.draw(_some_of(events))))
        self._await(fold_usage(self.connection, events))
        self._remember(events)

    @rule(batch=st.lists(stated, min_size=1, max_size=4))
    def crash_before_the_commit(self, batch: Sequence[Sequence[UsageEvent]]) -> None:
        async def fold_and_crash() -> None:
            transaction = self.connection.transaction()
            await transaction.start()
            await fold_usage(self.connection, [event for group in batch for event in group])
            await transaction.rollback()

        self._await(fold_and_crash())

    @rule(batch=st.lists(stated, min_size=1, max_size=4))
    def crash_before_the_acknowledgement(self, batch: Sequence[Sequence[UsageEvent]]) -> None:
        events = [event for group in batch for event in group]
        for _ in "twice":
            self._await(fold_usage(self.connection, events))
        self._remember(events)

    @rule()
    def rebuild(self) -> None:
        since = NOW - timedelta(days=41)
        self._await(rebuild_totals(self.connection, since, NOW + HOUR, kept_since=since))

    def _remember(self, events: Sequence[UsageEvent]) -> None:
        for event in events:
            self.folded[event.data.request_id, isinstance(event, UsageVoided)] = event

    @invariant()
    def totals_are_the_fold_of_distinct_events(self) -> None:
        expected: dict[tuple[Any, ...], Counter[str]] = {}
        for (_, is_void), event in self.folded.items():
            usage = event.data
            group = (usage.account_id, full_hour(usage.started_at), usage.model)
            sums = expected.setdefault(group, Counter())
            for name in Quantities.__struct_fields__:
                sums[name] += getattr(usage.quantities, name) * (-1 if is_void else 1)
        rows = self._await(self.connection.fetch("SELECT * FROM usage_totals"))
        found = {(row["account_id"], row["hour"], row["model"]): row for row in rows}
        assert found.keys() == expected.keys()
        for group, sums in expected.items():
            assert {name: found[group][name] for name in sums} == dict(sums)


def _some_of(events: Sequence[UsageEvent]) -> st.SearchStrategy[list[UsageEvent]]:
    return st.lists(st.sampled_from(events), max_size=3) if events else st.just([])


def test_totals_are_right_whatever_happens(database_url: str) -> None:
    with asyncio.Runner() as runner:
        Ledger.url, Ledger.runner = database_url, runner
        run(
            Ledger,
            settings=settings(
                max_examples=25,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
