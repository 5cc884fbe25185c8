"""``python -m deploy.local.<module> <verb>``: what all that is made ready apart has in common."""

import sys
from collections.abc import Callable

from deploy.errors import DeployError
from deploy.local.debian import Say
from inference.errors import ModelUnfit


def run_command(module: str, verb: str, work: Callable[[Say], None], *, name: str = "") -> int:
    """Do the one thing that a module can be told from the command line; the exit status.

    Args:
        module: Of `deploy.local`, to be named where something else was asked.
        verb: What it can be told.
        work: Does it; told where to say what is going on.
        name: What each line that is said begins with, if not the module's.
    """
    if sys.argv[1:] != [verb]:
        sys.stderr.write(f"usage: python -m deploy.local.{module} {verb}\n")
        return 2
    try:
        work(lambda line: print(f"{name or module}: {line}", flush=True))
    except (DeployError, ModelUnfit) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
