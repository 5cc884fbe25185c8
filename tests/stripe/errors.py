"""What Stripe says when it will not do something."""

from typing import Any


class Refused(Exception):
    """An answer that is an error, in Stripe's words."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"code": code, "message": message, "param": param, "type": kind}
        self.body = {"error": {name: value for name, value in error.items() if value is not None}}


def missing(param: str) -> Refused:
    return Refused(f"Missing required param: {param}.", code="parameter_missing", param=param)


def no_such(kind: str, id_: Any, *, param: str = "id") -> Refused:
    """404 of what the path names, 400 of what a parameter does."""
    return Refused(
        f"No such {kind}: '{id_}'",
        status=404 if param == "id" else 400,
        code="resource_missing",
        param=param,
    )
