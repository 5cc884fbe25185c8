"""The plans file: what it may say, and where it is wrong."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import BadPlansFile
from events.meters import Meter
from events.plans import money, read_meters, read_plans, show_money
from events.usage import Quantities
from events.windows import WINDOWS, Window, span

OURS = Path(__file__).parents[2] / "deploy" / "plans.toml"
GOOD = """\
[[plan]]
name = "default"
prices = { input_words = "0.60", output_words = "2" }
billed = ["input_words"]
lookup_keys = ["basic"]

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 60
window = "minute"

[[plan.policy]]
name = "spend"
unit = "cost"
limit = "12.50"
window = "day"

[[plan]]
name = "other"

[[meter]]
event_name = "words"
unit = "output_words"

[[meter]]
event_name = "read"
unit = "input_characters"
only = ["multilingual"]
since = 2026-11-01
"""


def test_our_own_file_is_in_order() -> None:
    assert {"default", "free"} <= set(read_plans(OURS))


def test_a_plan_says_what_a_request_costs(tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text(GOOD)
    plan = read_plans(tmp_path / "plans.toml")["default"]

    assert plan.cost(Quantities(input_words=1_000, output_words=7)) == 600_000
    assert show_money(600_000) == "0.0006"
    assert plan.policy[1].most() == 12_500_000_000


def test_meters_stand_beside_the_plans(tmp_path: Path) -> None:
    (tmp_path / "plans.toml").write_text(GOOD)

    words, read = read_meters(tmp_path / "plans.toml")

    assert words == Meter(event_name="words", unit="output_words")
    assert (read.only, read.since) == (("multilingual",), date(2026, 11, 1))


@pytest.mark.parametrize(
    ("was", "now", "line", "said"),
    [
        ('unit = "requests"', 'unit = "request"', 9, "request"),
        ("limit = 60", "limit = -60", 7, "whole number"),
        ("limit = 60", "limit = 1.5", 10, "float"),
        ("limit = 60", "limt = 60", 10, "limt"),
        ('limit = "12.50"', 'limit = "-1"', 13, "no amount"),
        ('limit = "12.50"', 'limit = "much"', 13, "no amount"),
        ('window = "day"', 'window = "week"', 17, "week"),
        ('name = "spend"', 'name = "minute"', 1, "twice"),
        ('name = "other"', 'name = "default"', 20, "twice"),
        ('name = "other"', 'name = "Other Plan"', 20, "regex"),
        ('billed = ["input_words"]', 'billed = ["requests"]', 1, "no price"),
        ('"0.60"', '"0.6000000000001"', 1, "decimals"),
        ('name = "other"', 'name = "other"\nconcurency = 3', 21, "concurency"),
        ('name = "other"', 'name = "other"\nconcurrency = 0', 21, ">= 1"),
        ('name = "other"', 'name = "other"\nlookup_keys = ["x", "basic"]', 21, "'basic' is plan"),
        ('name = "other"', 'name = "other"\ngrace_days = -1', 21, ">= 0"),
        ('name = "default"', 'name = "standard"', None, "must be a plan called"),
        ('name = "other"', "name = other", None, "line 20"),
        ('unit = "output_words"', 'unit = "errors"', 24, "errors"),
        ('event_name = "words"', 'event_name = ""', 23, "length"),
        ('event_name = "read"', 'event_name = "words"', 27, "meter 'words' is there twice"),
        ("since = 2026-11-01", 'since = "soon"', 30, "date"),
        ('only = ["multilingual"]', 'model = "multilingual"', 29, "model"),
    ],
)
def test_a_mistake_is_named_with_its_line(
    tmp_path: Path, was: str, now: str, line: int | None, said: str
) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(GOOD.replace(was, now, 1))

    with pytest.raises(BadPlansFile, match=said) as refused:
        read_plans(file)

    assert refused.value.line == line, str(refused.value)


@given(st.integers(0, 10**18))
def test_money_is_read_as_it_is_shown(nanos: int) -> None:
    assert money(show_money(nanos)) == nanos


@given(
    st.sampled_from(WINDOWS),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - it adds the zone
)
def test_windows_follow_one_another_without_a_gap(window: Window, at: datetime) -> None:
    at_ms = int(at.timestamp() * 1_000)

    found = span(window, at_ms)

    assert found.start_ms <= at_ms < found.end_ms
    assert span(window, found.start_ms) == found == span(window, found.end_ms - 1)
    assert span(window, found.end_ms).start_ms == found.end_ms
