"""What can go wrong in a worker, sorted by who can mend it."""


class InferenceError(Exception):
    """Base of this package's errors."""


class InputRefused(InferenceError):
    """A model will not take one input, and its caller can mend that.

    Models raise it, or return it in the input's place, from `tokenize` and `run`.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 422, param: str | None = None
    ) -> None:
        """Say what is wrong.

        Args:
            code: snake_case and stable; callers branch on it.
            message: for the caller: what is wrong and what to do.
            status: the answer's, 400 to 499; of 413 and 422 the documentation says it.
            param: the field of the input.
        """
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.param = param


class NoRoom(InputRefused):
    """The device has no memory for one input alone, beside what it holds for others."""

    def __init__(self) -> None:
        super().__init__(
            "input_too_large",
            "The device has no room for this, even alone; send less at a time.",
            status=413,
        )


class DeviceFull(InferenceError):
    """The device has no memory for so much at a time; try less."""


class DeviceLost(BaseException):
    """The device does nothing more for this process, which has to end and be started again.

    Not an error of a request: whoever handles those would go on, and refuse all that comes.
    """


class ModelUnfit(InferenceError):
    """A declared model cannot be served; mend its declaration, or install it."""

    def __init__(self, model: str, reason: str) -> None:
        super().__init__(f"model {model!r}: {reason}")
        self.model = model
        self.reason = reason
