"""``python -m deploy.local.<module> install``: what all that is installed apart has in common."""

import sys
from collections.abc import Callable

from deploy.errors import DeployError
from deploy.local.debian import Say
from inference.errors import ModelUnfit


def install_by_command(module: str, name: str, install: Callable[[Say], None]) -> int:
    """Install from the command line; the exit status.

    Args:
        module: Of `deploy.local`, to be named where something else was asked.
        name: What each line that is said begins with.
        install: Does it; told where to say what is going on.
    """
    if sys.argv[1:] != ["install"]:
        sys.stderr.write(f"usage: python -m deploy.local.{module} install\n")
        return 2
    try:
        install(lambda line: print(f"{name}: {line}", flush=True))
    except (DeployError, ModelUnfit) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
