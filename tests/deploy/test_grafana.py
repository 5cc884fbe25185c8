"""Every panel's SQL runs, on the documented views alone."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.ids import new_id
from ledger.db import Connection
from ledger.usage import fold_usage
from tests.usage import a_usage, recorded

FILES = sorted((Path(__file__).parents[2] / "deploy/grafana/dashboards").glob("*.json"))
VIEWS = {"usage_by_minute", "usage_by_hour", "usage_by_day", "usage_by_month"}
_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")


def panels() -> Iterator[Any]:
    for file in FILES:
        for panel in json.loads(file.read_text())["panels"]:
            sql = panel["targets"][0]["rawSql"]
            yield pytest.param(sql, id=f"{file.stem}: {panel['title']}")


def as_grafana_sends(sql: str, account: str) -> str:
    """With its macros and variables filled in."""
    day = r"\1 BETWEEN now() - interval '1 day' AND now() + interval '1 day'"
    return _FILTER.sub(day, sql).replace("$account", account)


@pytest.mark.parametrize("sql", list(panels()))
async def test_a_panel_shows_what_was_used(ledger: Connection, sql: str) -> None:
    account_id = new_id()
    await fold_usage(ledger, [recorded(a_usage(account_id, cost=7)), recorded(a_usage())])

    everybody = await ledger.fetch(as_grafana_sends(sql, ""))
    nobody = await ledger.fetch(as_grafana_sends(sql, str(new_id())))

    assert everybody
    assert not nobody
    assert set(re.findall(r"(?:FROM|JOIN) (\w+)", sql)) <= VIEWS


async def test_the_role_of_the_readme_reads_the_views_and_nothing_else(ledger: Connection) -> None:
    readme = (FILES[0].parents[1] / "README.md").read_text()
    grant = re.search(r"^GRANT .*;$", readme, re.MULTILINE)
    assert grant
    role = f"grafana_{new_id().hex}"
    await ledger.execute(f"CREATE ROLE {role}; " + grant[0].replace("grafana;", f"{role};"))
    try:
        await ledger.execute(f"SET ROLE {role}")
        assert await ledger.fetch("SELECT * FROM usage_by_minute") == []
        for table in ("usage_events", "usage_totals", "api_keys", "accounts"):
            with pytest.raises(Exception, match="permission denied"):
                await ledger.fetch(f"SELECT * FROM {table}")
    finally:
        await ledger.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_there_are_dashboards() -> None:
    assert [file.stem for file in FILES] == ["live", "usage"]
