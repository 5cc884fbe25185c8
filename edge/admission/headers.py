"""What a response says about limits.

Source: draft-ietf-httpapi-ratelimit-headers-11, and the headers that OpenAI's clients read.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from edge.admission.rule import CONCURRENCY, Rule

Headers = list[tuple[bytes, bytes]]

_SECONDS: Final = {"minute": 60, "hour": 3_600, "day": 86_400, "month": 2_678_400}
_TOKENS: Final = frozenset({"input_tokens", "output_tokens"})


def policy_header(rules: Iterable[Rule]) -> bytes:
    """The RateLimit-Policy header: the limits themselves."""
    return ", ".join(_policy(rule) for rule in rules if not rule.shadow).encode()


def _policy(rule: Rule) -> str:
    if rule.unit == CONCURRENCY:
        return f'"{rule.name}";q={rule.limit};qu="concurrent-requests"'
    window = f";w={_SECONDS[rule.window]}" if rule.window else ""
    return f'"{rule.name}";q={rule.limit}{window}'


def limit_headers(rules: Sequence[Rule], policies: bytes, now_ms: float) -> Headers:
    """Everything that a response says about its limits, as far as this edge knows."""
    if not policies:
        return []
    parts = []
    requests: tuple[int, int, Rule] | None = None
    tokens: tuple[int, int, Rule] | None = None
    for rule in rules:
        if rule.shadow:
            continue
        allowance = rule.current
        remaining = allowance.limit - (allowance.used or 0) + allowance.free
        remaining = max(remaining, 0)
        if rule.window is None:
            parts.append(f"{rule.label}{remaining}")
            continue
        resets_s = max(1, int((allowance.end_ms - now_ms) / 1_000) + 1)
        parts.append(f"{rule.label}{remaining};t={resets_s}")
        if rule.unit == "requests":
            if requests is None or remaining < requests[0]:
                requests = remaining, resets_s, rule
        elif rule.unit in _TOKENS and (tokens is None or remaining < tokens[0]):
            tokens = remaining, resets_s, rule
    found = [(b"ratelimit-policy", policies), (b"ratelimit", ", ".join(parts).encode())]
    if requests is not None:
        found += _for_openai(b"requests", *requests)
    if tokens is not None:
        found += _for_openai(b"tokens", *tokens)
    return found


def _for_openai(kind: bytes, remaining: int, resets_s: int, rule: Rule) -> Headers:
    return [
        (b"x-ratelimit-limit-" + kind, b"%d" % rule.limit),
        (b"x-ratelimit-remaining-" + kind, b"%d" % remaining),
        (b"x-ratelimit-reset-" + kind, b"%ds" % resets_s),
    ]
