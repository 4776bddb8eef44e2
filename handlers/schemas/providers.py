"""Providers and their operations in responses."""

from typing import Any

import msgspec


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    summary: str
    answers: str
    deadline_seconds: int
    input: dict[str, Any]


class ProviderView(msgspec.Struct, frozen=True, kw_only=True):
    object: str = "provider"
    name: str
    title: str
    configured: bool
    operations: list[OperationView]
