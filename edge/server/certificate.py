"""The edge's certificate, which is renewed while it runs."""

import ssl
from pathlib import Path

import structlog

from edge.settings import BadSetting, Settings

log = structlog.get_logger()


class Certificate:
    """The edge's own, as its files are now.

    Attributes:
        context: For connections that open now; those that are open keep theirs.

    Raises:
        BadSetting: the files cannot be used.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._files = chain, key
        self._seen = self._stamp()
        self.context = self._load()

    def look(self) -> None:
        """Take up a change of the files; files with a mistake change nothing."""
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self.context = self._load()
        except BadSetting as error:  # one of the two may be written already, the other not yet
            log.error("certificate_refused", error=str(error))
        else:
            log.info("certificate_read")

    def _load(self) -> ssl.SSLContext:
        chain, key = self._files
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(chain, key, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is one of the first
            message = f"TOLLGATE_TLS_CERTIFICATE {chain}, TOLLGATE_TLS_KEY {key}: {error}"
            raise BadSetting(message) from error
        return context

    def _stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, self._files))


def read_certificate(settings: Settings) -> Certificate | None:
    """The certificate that the settings name, if they name one.

    Raises:
        BadSetting: its files cannot be used, or one of the two is missing.
    """
    if not settings.tls_certificate and not settings.tls_key:
        return None
    if not settings.tls_certificate or not settings.tls_key:
        raise BadSetting("set both TOLLGATE_TLS_CERTIFICATE and TOLLGATE_TLS_KEY, or neither")
    return Certificate(Path(settings.tls_certificate), Path(settings.tls_key))


def _no_password() -> str:
    raise ValueError("the key is encrypted; a server's has no password")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Changes whenever the file does; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
