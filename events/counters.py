"""Counters on JetStream: what all edges together have let through.

A message with ``Nats-Incr: +5`` adds to its subject's counter and is answered with the
new total, atomically. The subject says what is counted, and in which window:

* ``<stream>.<window>.<start>.<scope>.<policy>``: what was granted to edges.
* ``<stream>.<window>.<start>.<scope>.<policy>.spent``: what was used for certain, where it
  is held first; and ``.h<expiry>``: what is held until then, and free again afterwards.
* ``rates.slots.<account>.h<expiry>``: requests that run, by when they must have ended.

There are three streams. `limits` has minutes and hours, and forgets them after a while;
`quotas` has days, months and credit, and forgets nothing by itself. Both are synced to
disk before they are answered. `rates` has the large limits of minutes and hours, at six
times the rate; a broker that is killed may forget the last of them.

Source: NATS ADR-49.
"""

from collections.abc import Iterator
from typing import Final

from events.plans import Policy
from events.subjects import token
from events.windows import Span, Window, span

RATES: Final = "RATES"
LIMITS: Final = "LIMITS"
QUOTAS: Final = "QUOTAS"

RATES_SUBJECTS: Final = "rates.>"
LIMITS_SUBJECTS: Final = "limits.>"
QUOTAS_SUBJECTS: Final = "quotas.>"
KEPT_S: Final = 7_200.0  # an hour's window, and as long again: of RATES and LIMITS

SMALL: Final = 1_000  # a limit of a minute or an hour below this is exact come what may
DAY_MS: Final = 86_400_000
BUCKET_S: Final = 15  # expiries are rounded up to this: few counters to read at once
SKEW_S: Final = 5  # how far apart the clocks of two edges may be
STALE_S: Final = 60  # after which an expired bucket is cleared away


def stream_of(policy: Policy, limit: int) -> str:
    """The stream that counts a policy."""
    if policy.window in {"day", "month"}:
        return QUOTAS
    return RATES if limit >= SMALL and not is_held(policy) else LIMITS


def is_held(policy: Policy) -> bool:
    """Whether a request's most is held until it is known what it used.

    A minute's tokens are simply taken, and what was too much is given back: a dead
    edge's are lost for a minute. In longer windows they would be lost for a month.
    """
    return policy.unit != "requests" and policy.window != "minute"


def base(stream: str, window: str, within: Span, scope: str, policy: str) -> str:
    """The subject of one policy in one window; see above for what may follow it.

    Args:
        stream: `RATES`, `LIMITS` or `QUOTAS`.
        window: Its name.
        within: Which one.
        scope: The account's id, or a key's.
        policy: Its name, and unit.
    """
    start_s = within.start_ms // 1_000
    return f"{stream.lower()}.{window}.{start_s}.{token(scope)}.{token(policy)}"


def passed(now_ms: int) -> Iterator[str]:
    """Filters for the counters of QUOTAS whose windows have passed since two months or less.

    A day later, that is: a request may end after its window has.
    """
    at_ms = now_ms - DAY_MS
    windows: tuple[tuple[Window, int], ...] = (("day", 70), ("month", 3))
    for window, back in windows:
        start_ms = span(window, at_ms).start_ms
        for _ in range(back):
            start_ms = span(window, start_ms - 1).start_ms
            yield f"{QUOTAS.lower()}.{window}.{start_ms // 1_000}.>"


def slots(account: str) -> str:
    """The subject of what an account has running."""
    return f"{RATES.lower()}.slots.{account}"


def expiry(until_s: float) -> int:
    """When a hold is free again that is needed until `until_s`; in Unix seconds."""
    return (int(until_s) // BUCKET_S + 2) * BUCKET_S


def is_past(subject: str, now_s: float) -> bool:
    """Whether a counter is a bucket of holds that have expired."""
    expires_s = _expiry_of(subject)
    return expires_s is not None and expires_s + SKEW_S <= now_s


def is_stale(subject: str, now_s: float) -> bool:
    """Whether they expired long ago."""
    expires_s = _expiry_of(subject)
    return expires_s is not None and expires_s + STALE_S <= now_s


def _expiry_of(subject: str) -> int | None:
    last = subject.rpartition(".")[2]
    return int(last[1:]) if last[0] == "h" else None
