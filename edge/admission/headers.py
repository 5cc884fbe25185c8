"""What a response says about limits.

Source: draft-ietf-httpapi-ratelimit-headers-11, and the headers that OpenAI's clients read.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from edge.admission.rule import Rule

Headers = list[tuple[bytes, bytes]]

_SECONDS: Final = {"minute": 60, "hour": 3_600, "day": 86_400, "month": 2_678_400}
_TOKENS: Final = frozenset({"input_tokens", "output_tokens"})


def policy_header(rules: Iterable[Rule]) -> bytes:
    """The RateLimit-Policy header: the limits themselves."""
    return ", ".join(_policy(rule) for rule in rules if not rule.shadow).encode()


def _policy(rule: Rule) -> str:
    if rule.unit == "concurrency":
        return f'"{rule.name}";q={rule.limit};qu="concurrent-requests"'
    window = f";w={_SECONDS[rule.window]}" if rule.window else ""
    return f'"{rule.name}";q={rule.limit}{window}'


def limit_headers(rules: Sequence[Rule], policies: bytes, at_ms: int) -> Headers:
    """Everything that a response to a request of `at_ms` says about its limits."""
    if not policies:
        return []
    parts = []
    requests: tuple[int, Rule] | None = None
    tokens: tuple[int, Rule] | None = None
    for rule in rules:
        if rule.shadow:
            continue
        remaining = rule.current.remaining
        if rule.window is None:
            parts.append(f'"{rule.name}";r={remaining}')
            continue
        parts.append(f'"{rule.name}";r={remaining};t={rule.resets_in(at_ms)}')
        if rule.unit == "requests":
            if requests is None or remaining < requests[0]:
                requests = remaining, rule
        elif rule.unit in _TOKENS and (tokens is None or remaining < tokens[0]):
            tokens = remaining, rule
    found = [(b"ratelimit-policy", policies), (b"ratelimit", ", ".join(parts).encode())]
    for kind, least in (("requests", requests), ("tokens", tokens)):
        if least is not None:
            remaining, rule = least
            found += [
                (f"x-ratelimit-limit-{kind}".encode(), str(rule.limit).encode()),
                (f"x-ratelimit-remaining-{kind}".encode(), str(remaining).encode()),
                (f"x-ratelimit-reset-{kind}".encode(), f"{rule.resets_in(at_ms)}s".encode()),
            ]
    return found
