"""What an operation takes: a table of inputs, checked before money is spent, shown as JSON Schema."""

from typing import Any, Literal

import msgspec

from service.errors import Fault


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter; *one_of* are the values it may have, the limits are inclusive."""

    name: str
    kind: Literal["string", "integer", "number", "boolean", "object", "array", "any"]
    summary: str
    required: bool = False
    one_of: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    max_length: int | None = None
    pattern: str | None = None
    example: Any = None


def faults_of(inputs: tuple[Input, ...], given: dict[str, Any]) -> list[Fault]:
    """Name every fault of *given* at once; names that the table does not know pass."""
    raise NotImplementedError


def json_schema(inputs: tuple[Input, ...]) -> dict[str, Any]:
    """Describe the table as a JSON Schema of one object, open to further names."""
    raise NotImplementedError
