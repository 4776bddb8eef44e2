"""The errors that callers of the API receive: a code, a message and the invalid fields."""

from typing import ClassVar

import msgspec


class FieldError(msgspec.Struct, frozen=True):
    """One error of an input: its path (`input.style`, `[3].provider`) and how to fix it."""

    path: str
    message: str


class StartError(Exception):
    """The service cannot start; the message names each invalid setting and how to fix it."""


class ServiceError(Exception):
    """The base of all errors whose message is sent to the caller.

    *reason* is the `code` of the response: that of the class, unless another one is given.
    """

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
    """The input is invalid; *errors* lists all invalid fields."""

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
    """The tenant has the maximum number of streams open."""

    code = "too_many_streams"

    def __init__(self, message: str, retry_after_seconds: int = 10) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class TooManyUploads(ServiceError):
    """The tenant has the maximum number of uploads in progress."""

    code = "too_many_uploads"

    def __init__(self, message: str, retry_after_seconds: int = 10) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ProviderRefused(ServiceError):
    """A provider refused a request; *code* is that of the error."""

    code = "provider_error"


class OutcomeUnknown(ServiceError):
    """A provider did not answer: it may have done what was asked, or not."""

    code = "submit_unknown"


class Unavailable(ServiceError):
    """The store cannot be reached or written now; nothing was changed and the caller may retry."""

    code = "unavailable"

    def __init__(self, message: str = "Try again shortly.", retry_after_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
