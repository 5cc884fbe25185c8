"""Which batch size is chosen, and how it comes into the models file."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deploy.commands.tune import write_limits
from events.models import Limits, read_models
from events.tasks import echo, generation
from inference.models import load
from inference.models.model import Advance, Generator
from inference.tune import (
    SIDE_BY_SIDE,
    WITHIN,
    WORDS,
    Measured,
    choose,
    limit,
    measure_batches,
    measure_slots,
)
from tests.inference.conftest import MODELS_FILE
from tests.inference.scribe import Draft, Scribe

measured = st.lists(
    st.builds(
        Measured,
        words=st.sampled_from(WORDS),
        side_by_side=st.integers(1, 256),
        tokens=st.integers(1, 100_000),
        ms=st.floats(0.1, 10_000),
    ),
    min_size=1,
    unique_by=lambda one: (one.words, one.side_by_side),
).map(lambda rows: sorted(rows, key=lambda one: (one.words, one.side_by_side)))


def test_the_smallest_batch_is_chosen_that_gains_nearly_all_there_is_to_gain() -> None:
    rows = [
        Measured(8, 1, 10, 10.0),  # 1,000 tokens/s
        Measured(8, 2, 20, 12.0),  # 1,667
        Measured(8, 4, 40, 20.5),  # 1,951
        Measured(8, 8, 80, 40.0),  # 2,000
        Measured(32, 1, 40, 20.0),  # 2,000
        Measured(32, 2, 80, 40.0),  # 2,000
    ]

    marked = choose(rows)

    assert [one.side_by_side for one in marked if one.chosen] == [4, 1]
    assert limit(marked) == 40


def test_what_would_make_each_text_too_slow_is_not_chosen() -> None:
    steps = [Measured(32, n, n, ms) for n, ms in ((1, 40.0), (8, 70.0), (16, 119.0), (32, 200.0))]

    marked = choose(steps, slower=3.0)

    assert [one.side_by_side for one in marked if one.chosen] == [16]


@given(measured)
def test_what_is_chosen_is_within_the_rule_and_nothing_smaller_is(rows: list[Measured]) -> None:
    marked = choose(rows)

    assert len(marked) == len(rows)
    for words in {one.words for one in rows}:
        of_length = [one for one in marked if one.words == words]
        (chosen,) = (one for one in of_length if one.chosen)
        enough = WITHIN * max(one.rate for one in of_length)
        assert chosen.rate >= enough
        assert all(one.rate < enough for one in of_length if one.side_by_side < chosen.side_by_side)


def test_batches_of_each_length_and_size_are_measured() -> None:
    model = load(read_models(MODELS_FILE)["echo"])
    assert not isinstance(model, Generator)

    rows = list(measure_batches(model, echo.TASK))

    assert [(one.words, one.side_by_side) for one in rows] == [
        (words, size) for words in WORDS for size in SIDE_BY_SIDE
    ]
    assert all(one.tokens == one.words * one.side_by_side for one in rows)


class Narrow(Scribe):
    """A scribe that has no more slots than it was loaded with, as real generators."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self._slots = slots

    def step(self, drafts: Sequence[Draft]) -> Sequence[Advance | Exception]:
        assert len(drafts) <= self._slots
        return super().step(drafts)


def test_steps_side_by_side_are_measured() -> None:
    rows = list(measure_slots(Narrow, generation.TASK))

    assert [one.tokens for one in rows] == [one.side_by_side for one in rows] == [*SIDE_BY_SIDE]


def test_limits_are_written_and_nothing_else_changes(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    before = MODELS_FILE.read_text()
    file.write_text(before)

    write_limits(file, {"echo": {"batch_tokens": 99}, "all-MiniLM-L6-v2": {"batch_tokens": 640}})
    write_limits(file, {"all-MiniLM-L6-v2": {"batch_tokens": 320}})

    after = file.read_text().splitlines()
    added = [line for line in after if line not in before.splitlines()]
    assert added == ["limits = {batch_tokens = 320}", "limits = {batch_tokens = 99}"]
    assert [line for line in after if line not in added] == before.splitlines()
    assert after[after.index(added[0]) - 1] == 'device = "auto"'
    assert read_models(file)["all-MiniLM-L6-v2"].limits == Limits(batch_tokens=320)


def test_limits_that_are_there_are_kept_in_either_form(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(
        """[[model]] # one
name = "a"
source = "echo:"
tasks = ["echo"]
limits = { queue = 7 } # ours

[[model]]
name = "b"
source = "echo:"
tasks = ["echo"]
[model.limits]
queue = 8 # theirs
"""
    )

    write_limits(file, {"a": {"slots": 4}, "b": {"slots": 5}})

    declared = read_models(file)
    assert declared["a"].limits == Limits(queue=7, slots=4)
    assert declared["b"].limits == Limits(queue=8, slots=5)
    assert all(said in file.read_text() for said in ("# one", "# ours", "# theirs"))


def test_the_command_measures_prints_and_writes(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text(MODELS_FILE.read_text())

    def tune(*arguments: str) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "deploy.cli", "models", "tune", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "TOLLGATE_HOME": "/nowhere", "TOLLGATE_MODELS_FILE": str(file)},
        )
        return done.returncode, done.stdout, done.stderr

    status, table, _ = tune("echo", "--dry-run")
    assert status == 0
    assert "tokens/s" in table
    assert file.read_text() == MODELS_FILE.read_text()

    status, _, _ = tune("echo")
    assert status == 0
    assert read_models(file)["echo"].limits != Limits()
    assert read_models(file)["all-MiniLM-L6-v2"].limits == Limits()

    status, _, error = tune("nobody")
    assert status == 1
    assert "'nobody' is not declared" in error
