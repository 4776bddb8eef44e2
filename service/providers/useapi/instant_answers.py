"""Reads the answers of the calls of useapi.net that have no callback."""

from typing import Any, Final

from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Artifact, Output
from service.providers.kit.coercion import as_dict, count, media_type, text, web_url
from service.providers.kit.http_status import empty_result, message_of, unreadable_result
from service.providers.kit.url_expiry import url_expiry

_DATA_OPERATIONS: Final = frozenset({"features", "lipsync.voices"})
_IMAGE_OPERATIONS: Final = frozenset({"image_upscaler", "text_to_image_preview"})


def read_instant_answer(operation: str, body: Any) -> Report:
    """Read a successful answer of *operation*; *body* is decoded, None if it is not JSON."""
    fields = as_dict(body)
    if fields.get("error"):
        return unreadable_result(message_of(fields["error"]))
    if operation in _DATA_OPERATIONS and isinstance(body, dict | list):
        return Report(status=Status.SUCCEEDED, output=Output(data=body))
    output = _output(operation, fields)
    if output is None:
        return empty_result() if fields else unreadable_result()
    return Report(status=Status.SUCCEEDED, output=output)


def _output(operation: str, fields: dict[str, Any]) -> Output | None:
    """Return the text or the file of the answer; None without one."""
    prompt, words, image = text(fields.get("prompt")), fields.get("words"), _image(fields)
    if operation == "frames.describe" and prompt is not None:
        return Output(text=prompt)
    if operation == "transcribe" and isinstance(words, list):
        return _transcript(words)
    if operation in _IMAGE_OPERATIONS and image is not None:
        return Output(artifacts=(image,))
    return None


def _transcript(words: list[Any]) -> Output:
    """Join the words; the data has their times in milliseconds."""
    spoken = (text(as_dict(word).get("text")) for word in words)
    return Output(text=" ".join(word for word in spoken if word), data=words)


def _image(fields: dict[str, Any]) -> Artifact | None:
    url = web_url(fields.get("url"))
    if url is None:
        return None
    return Artifact(
        kind="image",
        url=url,
        media_type=media_type(url),
        seed=count(fields.get("seed")),
        expires_at=url_expiry(url),
    )
