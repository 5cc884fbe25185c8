from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from consumers.settings import Settings as Consumers
from deploy.commands.migrate import MigrateSettings
from deploy.environment import BadSettings, read_settings, variable
from edge.settings import Settings as Edge
from inference.settings import Settings as Inference

EDGE = {
    "TOLLGATE_NATS_URL": "nats://127.0.0.1",
    "TOLLGATE_DATABASE_URL": "postgresql://127.0.0.1",
    "TOLLGATE_KEY_SECRET": "a-secret-of-some-length",
    "TOLLGATE_ADMIN_TOKEN": "a-token-of-some-length",
}


def test_settings_are_read_from_the_environment() -> None:
    settings = read_settings(Edge, {**EDGE, "TOLLGATE_DEADLINE_S": "2.5", "HOME": "/root"})

    assert settings.nats_url == "nats://127.0.0.1"
    assert settings.deadline_s == 2.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"TOLLGATE_NATS_URL": ""}, "set TOLLGATE_NATS_URL"),
        ({"TOLLGATE_DEADLINE_S": "soon"}, "TOLLGATE_DEADLINE_S"),
        ({"TOLLGATE_DEADLINE_S": "-1"}, "TOLLGATE_DEADLINE_S"),
        ({"TOLLGATE_DEADLINE_S": "\udcff"}, "TOLLGATE_DEADLINE_S"),  # a byte that is not UTF-8
        ({"TOLLGATE_NATS_URL": "nats://127.0.0.1\udcff"}, "TOLLGATE_NATS_URL"),
        ({"TOLLGATE_KEY_SECRET": "short"}, "TOLLGATE_KEY_SECRET"),
    ],
)
def test_a_bad_setting_is_named_by_its_variable(changes: dict[str, str], said: str) -> None:
    with pytest.raises(BadSettings, match=said) as caught:
        read_settings(Edge, {**EDGE, **changes})

    assert "short" not in str(caught.value)


def test_settings_do_not_show_their_secrets() -> None:
    assert "secret" not in repr(read_settings(Edge, EDGE))


def test_every_setting_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    processes: tuple[type[Struct], ...] = (Edge, Inference, Consumers, MigrateSettings)

    for settings in processes:
        for field in fields(settings):
            assert f"`{variable(field.name)}`" in page, variable(field.name)
