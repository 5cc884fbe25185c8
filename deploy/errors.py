"""What can go wrong with starting Tollgate; each says what to do next."""

from pathlib import Path


class DeployError(Exception):
    """Base of this package's errors: one line that a person can act on."""


class HomeInUse(DeployError):
    """Another `tollgate up` runs on this home."""

    def __init__(self, home: Path, owner: str) -> None:
        super().__init__(
            f"{home} is in use by another `tollgate up` (process {owner or 'unknown'}); "
            f"stop it, or choose another --home"
        )
        self.home = home
        self.owner = owner


class StillInUse(DeployError):
    """A lock's holder did not let go in time."""

    def __init__(self, path: Path, waited_s: float) -> None:
        super().__init__(f"{path} is still held by another process after {waited_s:g} s")
        self.path = path


class PortTaken(DeployError):
    """Something else listens on the port that was asked for."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken; choose another with --port")
        self.port = port


class ServerUnavailable(DeployError):
    """A local server cannot be had on this machine, or does not come up."""

    def __init__(self, server: str, reason: str, advice: str) -> None:
        super().__init__(f"{server}: {reason}; {advice}")
        self.server = server
        self.reason = reason


class ChildFailed(DeployError):
    """A process ended that should not have."""

    def __init__(self, name: str, ending: str, last_words: str = "") -> None:
        super().__init__(f"{name} {ending}" + (f", saying: {last_words}" if last_words else ""))
        self.name = name


class NotReady(DeployError):
    """The processes run, and something did not become true in time."""

    def __init__(self, what: str, waited_s: float) -> None:
        super().__init__(f"gave up after {waited_s:g} s of waiting for {what}")
        self.what = what


class BadSecrets(DeployError):
    """The file with this home's secrets cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}; mend or delete it")
        self.path = path
