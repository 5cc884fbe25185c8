"""What a parameter's text means."""

from typing import Any

from tests.stripe.errors import Refused, missing
from tests.stripe.form import Params


def required(params: Params, name: str) -> Any:
    if params.get(name) in (None, ""):
        raise missing(name)
    return params[name]


def text(params: Params, name: str, default: str | None = None) -> str | None:
    """A text; an empty one unsets, as Stripe has it."""
    if name not in params:
        return default
    value = params[name]
    if not isinstance(value, str):
        raise Refused(f"Invalid string: {value}", param=name)
    return value or None


def integer(params: Params, name: str, default: int | None = None) -> int | None:
    if params.get(name) in (None, ""):
        return default
    try:
        return int(params[name])
    except (TypeError, ValueError):
        raise Refused(
            f"Invalid integer: {params[name]}", code="parameter_invalid_integer", param=name
        ) from None


def boolean(params: Params, name: str, *, default: bool = False) -> bool:
    value = params.get(name)
    if value is None:
        return default
    if value not in ("true", "false"):
        raise Refused(f"Invalid boolean: {value}", param=name)
    return bool(value == "true")


def one_of(params: Params, name: str, allowed: tuple[str, ...], default: str) -> str:
    value = params.get(name, default)
    if value not in allowed:
        raise Refused(f"Invalid {name}: must be one of {', '.join(allowed)}", param=name)
    return str(value)


def mapping(params: Params, name: str) -> Params:
    value = params.get(name) or {}
    if isinstance(value, list):  # whose keys happened to count up from nought
        return {str(number): one for number, one in enumerate(value)}
    if not isinstance(value, dict):
        raise Refused(f"Invalid hash: {value}", param=name)
    return value


def many(params: Params, name: str) -> list[Any]:
    value = params.get(name) or []
    if isinstance(value, dict):
        return list(value.values())
    if not isinstance(value, list):
        raise Refused(f"Invalid array: {value}", param=name)
    return value


def metadata(params: Params, known: dict[str, str] | None = None) -> dict[str, str]:
    """What is known with what is told; an empty text takes a key away, or all of them."""
    if params.get("metadata") == "":
        return {}
    merged = {**(known or {}), **mapping(params, "metadata")}
    return {name: value for name, value in merged.items() if value != ""}
