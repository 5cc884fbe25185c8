"""`make lock`: pins everything that pyproject.toml asks for, as pip resolves it today.

``python -m deploy.local.pins`` prints requirements.txt.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

_HEAD = """\
# Made by `make lock` from pyproject.toml: its dependencies, the extra `inference` and
# the group `dev`, with all that they need. Change those, not this.
"""
# what builds of torch for GPUs bring along: it names them itself, and they exist for
# some machines only
_FOR_GPUS = ("cuda-", "nvidia-", "triton")


def pins(project: Path) -> str:
    """The text of requirements.txt for a project's pyproject.toml."""
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    resolved = subprocess.run(
        [*pip, "--report", "-", *_wanted(project)], check=True, stdout=subprocess.PIPE
    ).stdout
    found = sorted(
        (item["metadata"]["name"].lower(), item["metadata"]["version"])
        for item in json.loads(resolved)["install"]
    )
    lines = [
        f"{name}=={version.partition('+')[0]}"  # torch==2.13.0+cpu is torch==2.13.0 elsewhere
        for name, version in found
        if not name.startswith(_FOR_GPUS)
    ]
    return _HEAD + "\n".join(lines) + "\n"


def _wanted(project: Path) -> Sequence[str]:
    declared = tomllib.loads(project.read_text())
    return [
        *declared["project"]["dependencies"],
        *declared["project"]["optional-dependencies"]["inference"],
        *declared["dependency-groups"]["dev"],
    ]


if __name__ == "__main__":
    sys.stdout.write(pins(Path("pyproject.toml")))
