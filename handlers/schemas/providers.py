"""Providers and their operations in responses."""

from typing import Any

import msgspec

from handlers.schemas.assets import AssetRulesView


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """An operation of a provider.

    *answers* says how the provider sends the result: `at once` in its response, later `by
    callback`, or never, so that it is read `by polling`. *deadline_seconds* is the default deadline
    of its jobs, until the durations of 20 successful jobs replace it. *input* is a JSON Schema.
    """

    name: str
    summary: str
    answers: str
    deadline_seconds: int
    input: dict[str, Any]


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    """A provider; *configured* if its credential is set."""

    object: str = "provider"
    name: str
    title: str
    configured: bool
    operations: list[OperationView]
    assets: AssetRulesView | None
