"""The operation of Replicate: a prediction by a version, an official model or a deployment."""

import re
from types import MappingProxyType
from typing import Any, Final

from service.domain.primitives.errors import FieldError
from service.providers.kit.input_schema import InputField, reply_url
from service.providers.protocol import LostAnswerPolicy, Operation

EVENTS: Final = ("start", "output", "logs", "completed")
"""Source: replicate.com/docs/topics/webhooks/receive-webhook."""
DEFAULT_EVENTS: Final = ("start", "completed")
"""Each webhook repeats the whole prediction; `output` and `logs` may send two of them a second."""
TARGETS: Final = ("version", "model", "deployment")
"""What can run: exactly one of these input fields names it."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}/[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

PREDICTION: Final = Operation(
    name="predictions.create",
    summary="Run a model. Name it in one of the fields version, model and deployment.",
    inputs=(
        InputField(
            name="version",
            kind="string",
            summary="A version: its id, or owner/name:id.",
            max_length=300,
            example="5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        ),
        InputField(
            name="model",
            kind="string",
            summary="An official model, which needs no version.",
            pattern=_NAME,
            pattern_description="a name like owner/name",
            example="black-forest-labs/flux-schnell",
        ),
        InputField(
            name="deployment",
            kind="string",
            summary="A deployment of your account.",
            pattern=_NAME,
            pattern_description="a name like owner/name",
            example="acme/image-generator",
        ),
        InputField(
            name="input",
            kind="object",
            summary="The input of the model, as its page at Replicate describes it.",
            required=True,
            example={"prompt": "A lighthouse in a storm"},
        ),
        reply_url("webhook", max_length=1024),
        InputField(
            name="webhook_events_filter",
            kind="array",
            summary=(
                "What Replicate reports: start, output, logs, completed. By default start and "
                "completed. logs adds progress, with up to two callbacks a second."
            ),
            example=["start", "logs", "completed"],
        ),
    ),
    answers_immediately=False,
    # There is no idempotency key, and no reference by which a prediction could be found.
    on_lost_answer=LostAnswerPolicy.AWAIT,
    # A prediction may run for 30 minutes, after it has waited for a machine
    # (replicate.com/docs/topics/predictions/lifecycle).
    deadline_seconds=3600,
)
OPERATIONS: Final = MappingProxyType({PREDICTION.name: PREDICTION})


def combination_errors(given: dict[str, Any]) -> list[FieldError]:
    """Check that one target is named, and each event of the filter."""
    errors = []
    named = [name for name in TARGETS if name in given]
    if len(named) != 1:
        problem = "is required, or model, or deployment" if not named else "excludes the others"
        field = named[-1] if named else TARGETS[0]
        errors.append(FieldError(f"input.{field}", f"{problem}: name exactly one of them"))
    events = given.get("webhook_events_filter")
    if isinstance(events, list) and any(event not in EVENTS for event in events):
        message = f"may contain only {', '.join(EVENTS)}"
        errors.append(FieldError("input.webhook_events_filter", message))
    return errors
