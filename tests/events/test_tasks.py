"""What every task takes."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import FieldInfo, fields

from edge import endpoint as frame
from edge.endpoint import Service
from events.tasks import Task

TASKS = [endpoint.task for endpoint in frame.declared(list(Service)) if endpoint.task]
OPTIONAL = [(task, field) for task in TASKS for field in fields(task.takes) if not field.required]


@pytest.mark.parametrize(
    ("task", "field"), OPTIONAL, ids=[f"{task.name}-{field.name}" for task, field in OPTIONAL]
)
def test_what_may_be_left_out_may_be_null(task: Task, field: FieldInfo) -> None:
    """NLP Cloud's clients send null for all that they are not given."""
    body: dict[str, Any] = msgspec.to_builtins(task.example)
    body[field.encode_name] = None
    without = {name: value for name, value in body.items() if name != field.encode_name}

    read = task.decode_input(msgspec.json.encode(body))

    assert read == task.decode_input(msgspec.json.encode(without))
