"""The answer that a provider refuses our account, and what that concerns."""

from enum import StrEnum

import msgspec


class RefusalScope(StrEnum):
    """What a provider refuses; jobs that this does not concern continue."""

    CREDENTIAL = "credential"
    """Our credential, and with it every account of the provider."""
    ACCOUNT = "account"
    """One account, for example because its session is broken."""
    CREDITS = "credits"
    """The jobs of one account that use credits."""


class AccountRefused(msgspec.Struct, frozen=True, kw_only=True):
    """The provider did not accept the task because of our account; it may be sent again later."""

    message: str
    scope: RefusalScope
