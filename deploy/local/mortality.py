"""Children that do not outlive us."""

import shutil
from collections.abc import Sequence


def dying_with_us(argv: Sequence[str], *, as_user: Sequence[str] = ()) -> Sequence[str]:
    """The command such that the kernel kills it when this process dies, however it dies.

    Args:
        argv: The command.
        as_user: A prefix that changes the user; it goes first, because a process that
            changes its user forgets the signal that it wanted at its parent's death.
    """
    if shutil.which("setpriv") is None:  # util-linux, so on every Linux; not on a Mac
        return [*as_user, *argv]
    return [*as_user, "setpriv", "--pdeathsig", "KILL", "--", *argv]
