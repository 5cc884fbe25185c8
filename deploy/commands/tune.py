"""`tollgate models tune`: limits for the device at hand, measured and written down."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import tomlkit
import typer
from msgspec.structs import replace
from tomlkit.items import AoT, InlineTable, Table

from deploy.commands.models import ModelsSettings
from deploy.commands.output import show_table
from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from events.models import ModelDeclared, read_models
from events.tasks import all_tasks

UNBOUNDED: Final = 2**24  # tokens: what is measured is not to be cut by the limit of today


class NothingToTune(DeployError):
    """No such model is declared, or no file is."""


def tune_models(
    model: Annotated[str, typer.Argument(help="Its name; all declared ones without.")] = "",
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print, and write nothing.")] = False,
) -> None:
    """Measure batch size against latency on this machine, and write the limits down.

    Chosen is, for texts of each length, the smallest batch within 5 % of the best throughput,
    and of these the one of most tokens (`batch_tokens`); of a generator, the number of texts side
    by side (`slots`), among those whose step takes three times that of a text alone at most. Let
    nothing else run meanwhile. Workers read it when they start.
    """
    settings = read_settings(ModelsSettings, environment_for_commands())
    if not settings.models_file:
        raise NothingToTune("no models file; set TOLLGATE_MODELS_FILE")
    path = Path(settings.models_file)
    declared = read_models(path)
    if model and model not in declared:
        raise NothingToTune(f"model {model!r} is not declared in {path}")
    chosen = [declared[model]] if model else list(declared.values())
    found = {one.name: _measure(one) for one in chosen}
    if dry_run:
        return
    write_limits(path, found)
    print(f"written to {path}; workers read it when they start")


def _measure(declared: ModelDeclared) -> Mapping[str, int]:
    from inference import tune  # noqa: PLC0415 - the other commands do without
    from inference.models import load  # noqa: PLC0415 - brings torch along
    from inference.models.model import Generator, Model  # noqa: PLC0415 - likewise

    def loaded(slots: int) -> Model | Generator:
        limits = replace(declared.limits, batch_tokens=UNBOUNDED, slots=slots)
        return load(replace(declared, limits=limits))

    def generator(slots: int) -> Generator:
        model = loaded(slots)
        assert isinstance(model, Generator)
        return model

    task = all_tasks()[declared.tasks[0]]
    model = loaded(1)
    generates = isinstance(model, Generator)
    if isinstance(model, Generator):
        del model  # the device may have no room for two
        measured = list(tune.measure_slots(generator, task))
    else:
        measured = list(tune.measure_batches(model, task))
    marked = tune.choose(measured, slower=tune.SLOWER if generates else math.inf)
    found = {"slots" if generates else "batch_tokens": tune.limit(marked)}
    print(f"\n{declared.name}, {task.name}, on {declared.device}")
    show_table(
        ("words", "side by side", "tokens", "ms", "tokens/s", "chosen"),
        [
            (
                one.words,
                one.side_by_side,
                one.tokens,
                f"{one.ms:.1f}",
                f"{one.rate:.0f}",
                one.chosen or None,
            )
            for one in marked
        ],
    )
    for name, value in found.items():
        print(f"{name} = {value}")
    return found


def write_limits(path: Path, found: Mapping[str, Mapping[str, int]]) -> None:
    """Set limits of models in their file, and leave every other byte of it as it is.

    Args:
        path: A models file that can be read.
        found: Limits by the model's name.
    """
    document = tomlkit.parse(path.read_text())
    models = document["model"]
    assert isinstance(models, AoT), "read_models has seen to it"
    for table in models:
        for name, value in found.get(str(table["name"]), {}).items():
            _limits(table)[name] = value
    written = path.with_name(f".{path.name}.tuned")
    written.write_text(tomlkit.dumps(document))
    read_models(written)
    written.replace(path)


def _limits(table: Table) -> Table | InlineTable:
    limits = table.get("limits")
    if limits is None:
        # before the blank lines and comments at the end, which are the next model's
        body, trailing = table.value.body, []
        while body and body[-1][0] is None:
            trailing.append(body.pop())
        limits = tomlkit.inline_table()
        table.append("limits", limits)
        body.extend(reversed(trailing))
        limits = table["limits"]
    assert isinstance(limits, Table | InlineTable), "read_models has seen to it"
    return limits
