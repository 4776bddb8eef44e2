"""Reads the results of fal's models: files under known names, text, other data."""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, Final

from msgspec.structs import replace

from service.domain.jobs.results import Artifact, Output
from service.providers.kit.coercion import (
    artifact_kind,
    as_bounded_list,
    as_dict,
    count,
    media_type,
    text,
    web_url,
)

KINDS: Final = {
    "images": "image",
    "image": "image",
    "video": "video",
    "videos": "video",
    "audio": "audio",
    "audios": "audio",
    "audio_file": "audio",
    "audio_url": "audio",
    "model_mesh": "model",
    "model_meshes": "model",
    "model_glb": "model",
    "model_glb_pbr": "model",
    "model_obj": "model",
    "mesh": "model",
    "mask": "image",
    "masks": "image",
    "mask_image": "image",
    "vector": "image",
    "file": "file",
    "files": "file",
    "diffusers_lora_file": "file",
    "lora_file": "file",
    "config_file": "file",
}
"""The names under which models return their files, and the kind if the file has no media type."""
_TEXTS: Final = ("text", "output", "results")


def output_of(payload: Any) -> Output:
    """Read the files; of a model that returns none, the text, and whatever else there is as data.

    A payload with a name of files, but without a file, has no output.
    """
    if not isinstance(payload, dict):
        return Output(text=text(payload), data=payload if isinstance(payload, list) else None)
    if KINDS.keys() & payload.keys():
        return Output(artifacts=tuple(_artifacts(payload)))
    name = next((name for name in _TEXTS if text(payload.get(name))), None)
    data = {key: value for key, value in payload.items() if key != name}
    return Output(text=payload[name] if name else None, data=data or None)


def _artifacts(payload: dict[str, Any]) -> Iterator[Artifact]:
    """Read the files under all known names; `has_nsfw_concepts` has a verdict for each image."""
    verdicts = as_bounded_list(payload.get("has_nsfw_concepts"))
    seed = count(payload.get("seed"))
    for name, kind in KINDS.items():
        for item, verdict in zip_longest(as_bounded_list(payload.get(name)), verdicts):
            if artifact := _artifact(as_dict(item), kind):
                nsfw = verdict if name == "images" and isinstance(verdict, bool) else None
                yield replace(artifact, seed=seed, nsfw=nsfw)


def _artifact(item: dict[str, Any], kind: str) -> Artifact | None:
    """Read a file; with `sync_mode` its URL is a data URI."""
    url = web_url(item.get("url")) or _data_uri(item.get("url"))
    if url is None:
        return None
    given = text(item.get("content_type"))
    file_type = given or _type_of_data_uri(url) or media_type(text(item.get("file_name")), url)
    return Artifact(
        kind=artifact_kind(file_type) if file_type and kind == "file" else kind,
        url=url,
        media_type=file_type,
        width=count(item.get("width")),
        height=count(item.get("height")),
        bytes=count(item.get("file_size")),
    )


def _data_uri(value: Any) -> str | None:
    return value if isinstance(value, str) and value.startswith("data:") else None


def _type_of_data_uri(url: str) -> str | None:
    if not url.startswith("data:"):
        return None
    found = url[len("data:") :].partition(",")[0].partition(";")[0]
    return found if "/" in found else None
