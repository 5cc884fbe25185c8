"""What each task takes and gives: one module per task, shared by edge and worker.

A module here states one constant, `TASK`; that is all it takes to be found.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from events.tasks.task import Task

__all__ = ["Task", "all_tasks"]


def all_tasks() -> Mapping[str, Task]:
    """Every task of this package, by name."""
    modules = (import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__))
    tasks = [module.TASK for module in modules if hasattr(module, "TASK")]
    return {task.name: task for task in tasks}
