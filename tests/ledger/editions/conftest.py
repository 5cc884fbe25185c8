"""A database of each edition, migrated and the test's own."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from ledger.editions import Edition
from ledger.migrate import migrate
from tests.ledger.editions.community import LEFT_OUT, Community
from tests.ledger.editions.plain import Plain


@pytest.fixture(scope="session")
def plain_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Plain(tmp_path_factory.mktemp("plain"), free_port()) as server:
        yield server


def _without_community() -> bool:
    return os.environ.get(LEFT_OUT) == "no"


def _community(folder: Path) -> Iterator[str]:
    if _without_community():
        pytest.skip(f"{LEFT_OUT} says so")
    with Community(folder, free_port()) as server:
        yield server.url


def _of_its_own(server: Postgres) -> Iterator[str]:
    name = f"edition_{uuid4().hex}"
    url = server.create(name)
    yield url
    with psycopg.connect(server.url("postgres"), autocommit=True) as session:
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_plain(plain_postgres: Postgres) -> Iterator[str]:
    """Plain PostgreSQL, without any table."""
    yield from _of_its_own(plain_postgres)


@pytest.fixture
def empty_apache(postgres: Postgres) -> Iterator[str]:
    """TimescaleDB's Apache edition, without any table."""
    yield from _of_its_own(postgres)


@pytest.fixture
def empty_community(tmp_path: Path) -> Iterator[str]:
    """TimescaleDB's Community edition, without any table."""
    yield from _community(tmp_path / "community")


@pytest.fixture(params=Edition)
def empty(request: pytest.FixtureRequest) -> str:
    """Each edition in turn, without any table."""
    url: str = request.getfixturevalue(f"empty_{request.param}")
    return url


@pytest.fixture
def plain(empty_plain: str) -> str:
    migrate(empty_plain)
    return empty_plain


@pytest.fixture
def apache(empty_apache: str) -> str:
    migrate(empty_apache)
    return empty_apache


@pytest.fixture
def community(empty_community: str) -> str:
    migrate(empty_community)
    return empty_community
