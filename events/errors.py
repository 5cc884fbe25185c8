"""What can go wrong with the wire itself."""

from pathlib import Path


class WireError(Exception):
    """Base of this package's errors."""


class BadBrokerUrl(WireError):
    """The URL of NATS cannot be used; it is not shown, since a password may be in it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"TOLLGATE_NATS_URL: {reason}")


class BadModelsFile(WireError):
    """The models file cannot be used; mend it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class StreamMissing(WireError):
    """A stream is not there; `tollgate migrate` makes it."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"stream {stream} does not exist; run `tollgate migrate` first")
        self.stream = stream


class StreamUnfit(WireError):
    """The broker cannot give a stream what it needs."""

    def __init__(self, stream: str, reason: str) -> None:
        super().__init__(f"stream {stream}: {reason}")
        self.stream = stream
        self.reason = reason


class BadPlansFile(WireError):
    """The plans file cannot be used; mend it."""

    def __init__(self, path: Path, reason: str, *, line: int | None = None) -> None:
        super().__init__(f"{path}{f', line {line}' if line else ''}: {reason}")
        self.path = path
        self.reason = reason
        self.line = line


class BadSigned(WireError):
    """What somebody is said to have signed was not, or is something else."""


class UnknownSigner(WireError):
    """It is signed with a key that is not among those that are known."""

    def __init__(self, kid: str) -> None:
        super().__init__(f"none of these keys signed it; the one that it names is {kid!r}")
        self.kid = kid


class BadKeySet(WireError):
    """Public keys that cannot be used."""


class BadSigningKeys(WireError):
    """Private keys that cannot be used; mend the setting."""

    def __init__(self, number: int) -> None:
        super().__init__(
            f"key {number} of TOLLGATE_RECEIPT_KEYS is not 32 bytes in base64; "
            "`openssl rand -base64 32` makes one"
        )
        self.number = number
