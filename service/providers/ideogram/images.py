"""Reads the images of a generation: an unsafe one has no URL, and the URLs expire."""

import re
from typing import Any, Final

from service.domain.jobs.results import Artifact, ErrorCode, JobError, Output
from service.providers.kit.coercion import as_dict, count, media_type, text, web_url
from service.providers.kit.url_expiry import url_expiry

_SIZE: Final = re.compile("([0-9]{1,6})x([0-9]{1,6})")
_UNSAFE: Final = JobError(
    code=ErrorCode.MODERATED,
    message="The image did not pass the provider's safety check.",
)
_MISSING: Final = JobError(
    code=ErrorCode.NO_OUTPUT, message="The image has no URL.", retryable=True
)
_NOTHING: Final = JobError(
    code=ErrorCode.NO_OUTPUT, message="The generation has no images.", retryable=True
)


def read_images(items: list[Any]) -> Output | JobError:
    """Read all images; the error of the whole generation if none of them can be had."""
    images = [as_dict(item) for item in items]
    artifacts = tuple(filter(None, map(_artifact, images)))
    errors = tuple(_error(image) for image in images if web_url(image.get("url")) is None)
    if artifacts:
        return Output(artifacts=artifacts, errors=errors)
    return _UNSAFE if _UNSAFE in errors else next(iter(errors), _NOTHING)


def _artifact(image: dict[str, Any]) -> Artifact | None:
    url = web_url(image.get("url"))
    if url is None:
        return None
    size = _SIZE.fullmatch((text(image.get("resolution")) or "")[:20])
    safe = image.get("is_image_safe")
    return Artifact(
        kind="image",
        url=url,
        media_type=media_type(url),
        width=int(size[1]) if size else None,
        height=int(size[2]) if size else None,
        seed=count(image.get("seed")),
        nsfw=not safe if isinstance(safe, bool) else None,
        expires_at=url_expiry(url),
    )


def _error(image: dict[str, Any]) -> JobError:
    return _UNSAFE if image.get("is_image_safe") is False else _MISSING
