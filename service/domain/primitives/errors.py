"""What can go wrong for a caller: a code, a sentence, and the faults that can be mended."""

from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One thing wrong with an input: where (`input.style`, `[3].provider`) and how to mend it."""

    path: str
    message: str


class StartError(Exception):
    """The service cannot start; the message names each setting at fault and the fix."""


class ServiceError(Exception):
    """The base of all errors that a caller is told about."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.reason = code or type(self).code


class NotFound(ServiceError):
    code = "not_found"


class Unauthorized(ServiceError):
    code = "unauthorized"


class Forbidden(ServiceError):
    code = "forbidden"


class Conflict(ServiceError):
    code = "conflict"


class Invalid(ServiceError):
    """The input is wrong in one or more places, all of them named at once."""

    code = "invalid_input"

    def __init__(
        self,
        errors: list[FieldError],
        message: str = "The request is not valid.",
        code: str | None = None,
    ) -> None:
        super().__init__(message, code)
        self.errors = errors


class TooManyStreams(ServiceError):
    """The tenant has as many streams open as it may."""

    code = "too_many_streams"

    def __init__(self, message: str, retry_after_seconds: int = 10) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ServiceError):
    """The store cannot be written just now: nothing was lost, nothing was done, try again."""

    code = "unavailable"

    def __init__(self, message: str = "Try again shortly.", retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
