"""Apertium for a few languages, from Debian's own packages.

``python -m deploy.local.apertium install`` puts it into the virtual environment, where
the models are. It is under the GNU GPL, and runs as processes of its own.
"""

import sys
from typing import Final

from deploy.errors import ServerUnavailable
from deploy.local import debian
from deploy.local.command import run_command
from deploy.local.locks import locked
from inference.models import FOLDERS

FOLDER: Final = FOLDERS / "apertium"
RELEASE: Final = "trixie"  # as of the database: one set of package lists
PACKAGES: Final = ("apertium-eng-spa", "apertium-fr-es")  # French goes by way of Spanish
INSTALL_S: Final = 900.0  # for another installation to finish

_ADVICE: Final = "or set TOLLGATE_MODELS_FILE to a copy of deploy/models.toml without apertium"


def install(say: debian.Say) -> None:
    """Put it among the models, once.

    Raises:
        ServerUnavailable: this machine cannot have it.
    """
    FOLDERS.mkdir(parents=True, exist_ok=True)
    try:
        with locked(FOLDER.with_suffix(".lock"), within_s=INSTALL_S):
            if FOLDER.is_dir():
                return
            part = FOLDER.with_suffix(".part")
            debian.unpack(PACKAGES, RELEASE, part, say)
            debian.wrap(part / "usr/bin", part)
            part.rename(FOLDER)
    except (debian.PackagesUnavailable, OSError) as error:
        raise ServerUnavailable("Apertium", str(error), _ADVICE) from error
    say(f"installed into {FOLDER}")


if __name__ == "__main__":
    sys.exit(run_command("apertium", "install", install))
