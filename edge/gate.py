"""A gate for APIs that Tollgate does not serve itself: a proxy asks before it forwards.

Traefik's ForwardAuth, nginx's auth_request, Caddy's forward_auth and Envoy's ext_authz
all ask the same way: with the caller's headers, and nothing of its body. Each request
that is let through is one request of a declared name, metered at once, whatever
becomes of it behind the gate.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import unquote
from uuid import UUID

import msgspec
from litestar.types import Scope
from msgspec import Meta, Struct

from edge.admission import Admission
from edge.asgi import Answer, header
from edge.auth import Caller, Keys
from edge.errors import EdgeError, NotGated
from edge.failures import Failures
from edge.metering import Meter
from events.errors import WireError
from events.usage import Quantities, Usage

TASK: Final = "gate"  # what a plan's `only` and the usage call what passed here
PREFIX: Final = b"/gate"
ONE: Final = Quantities()


class BadGatesFile(WireError):
    """The gates file cannot be used; mend it."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


class Gate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All paths that begin alike, under one name: so metrics and limits stay bounded."""

    name: Annotated[str, Meta(pattern=r"^[\w.~-]{1,128}$")]
    prefix: Annotated[str, Meta(pattern=r"^/")]

    def covers(self, path: str) -> bool:
        """Whether a path is the prefix, or something below it."""
        below = self.prefix if self.prefix.endswith("/") else self.prefix + "/"
        return path == self.prefix or path.startswith(below)


class _File(Struct, frozen=True, forbid_unknown_fields=True):
    gate: tuple[Gate, ...]


def read_gates(path: Path) -> Sequence[Gate]:
    """Read the gates file; the longest prefix comes first.

    Raises:
        BadGatesFile: it is missing, is not TOML, or says something wrong.
    """
    try:
        gates = msgspec.convert(tomllib.loads(path.read_text()), _File).gate
    except OSError as error:
        raise BadGatesFile(path, error.strerror or str(error)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadGatesFile(path, str(error)) from error
    prefixes = [gate.prefix for gate in gates]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1:
            raise BadGatesFile(path, f"prefix {prefix!r} is there twice")
    return sorted(gates, key=lambda gate: -len(gate.prefix))


def is_gate(raw_path: bytes) -> bool:
    """Whether a request is a proxy's question."""
    return raw_path == PREFIX or raw_path.startswith(PREFIX + b"/")


class GateRoute:
    """Says whether a request that a proxy holds may pass, and counts it."""

    def __init__(
        self,
        gates: Sequence[Gate],
        *,
        keys: Keys,
        admission: Admission,
        meter: Meter,
        failures: Failures,
    ) -> None:
        self._gates = gates
        self._keys = keys
        self._admission = admission
        self._meter = meter
        self._failures = failures

    async def answer(self, request_id: UUID, scope: Scope) -> Answer:
        """Who is let through; once this returns, its usage event is durable.

        Raises:
            EdgeError: with status 401, 402, 403 or 429 where it may not pass, and 503
                where nobody knows.
        """
        caller = await self._keys.authenticate(header(scope, b"authorization"))
        gate = self._gate(_uri(scope))
        try:
            return await self._answer(caller, gate, request_id)
        except EdgeError as error:
            self._failures.note(caller, gate.name, TASK, error)
            raise

    async def _answer(self, caller: Caller, gate: Gate, request_id: UUID) -> Answer:
        self._admission.require(caller, gate.name, TASK)
        admitted = await self._admission.admit(caller, gate.name, TASK, request_id, lambda: ONE)
        try:
            quantities = admitted.priced(ONE)
            await admitted.settle(quantities)
            used = Usage(
                request_id=request_id,
                account_id=caller.account.id,
                key_id=caller.key.id,
                model=gate.name,
                task=TASK,
                quantities=quantities,
                plan=admitted.plan.name,
                rates=admitted.rates,
            )
            await self._meter.record(used)
        except EdgeError as error:
            error.headers = admitted.headers()
            raise
        finally:
            admitted.end()  # how long it runs behind the gate, nobody tells us
        return Answer(b"", [*_identity(caller, admitted.plan.name), *admitted.headers()])

    def _gate(self, uri: str) -> Gate:
        path = unquote(uri.partition("?")[0].partition("#")[0])
        segments = path.replace("\\", "/").split("/")
        if "." in segments or ".." in segments or "\0" in path:
            # what is behind the gate may read it as another path than we do
            raise NotGated("a path with dots for segments is not let through; send it resolved")
        plain = "/" + "/".join(segment for segment in segments if segment)
        for gate in self._gates:
            if gate.covers(plain) or gate.covers(plain + "/"):
                return gate
        raise NotGated("no gate is declared for this path")


def _uri(scope: Scope) -> str:
    """What the caller asked the proxy for; Envoy puts it behind our prefix instead."""
    forwarded = header(scope, b"x-forwarded-uri")
    if forwarded is None:
        return scope["raw_path"][len(PREFIX) :].decode("latin-1") or "/"
    return forwarded


def _identity(caller: Caller, plan: str) -> list[tuple[bytes, bytes]]:
    """Always all of them: a proxy overwrites what a caller sent under these names."""
    return [
        (b"x-tollgate-account", str(caller.account.id).encode()),
        (b"x-tollgate-key", caller.key.id.encode()),
        (b"x-tollgate-plan", plan.encode()),
    ]
