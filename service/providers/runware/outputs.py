"""What a result of Runware holds: files by URL or inline, text, structured data."""

from typing import Any, Final

from service.domain.jobs.results import Artifact, Output
from service.providers.coercion import few, fields, kind_of, media_type, text, web_url

MEDIA: Final = ("image", "video", "audio", "model", "media", "guideImage", "maskImage")
_INLINE: Final = ("DataURI", "Base64Data")
_DATA: Final = ("structuredData", "result")
_STEMS: Final = {stem + end: stem for stem in MEDIA for end in ("URL", "UUID", *_INLINE)}
RESULTS: Final = frozenset((*_STEMS, *_DATA, "text", "outputs"))
_SIGNATURES: Final = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("UklGR", "webp"))


def output_of(item: dict[str, Any]) -> Output:
    """Take what is known of a result; `structuredData` stands in the place of `text`."""
    there = {_STEMS[key] for key in item.keys() & _STEMS.keys()}
    made = (*(_artifact(item, stem) for stem in MEDIA if stem in there), *_files(item))
    artifacts = tuple(artifact for artifact in made if artifact is not None)
    # A training brings nothing but `outputs`; beside a file they are a detail of it.
    keys = _DATA if artifacts else (*_DATA, "outputs")
    data = next((v for key in keys if isinstance(v := item.get(key), dict | list) and v), None)
    return Output(
        artifacts=artifacts,
        text=text(item.get("text")) or text(item.get("result")) if data is None else None,
        data=data,
    )


def _artifact(item: dict[str, Any], stem: str) -> Artifact | None:
    """Take one file: by URL, or inline as a data URI if the client asked for it that way."""
    url = web_url(item.get(f"{stem}URL"))
    inline = None if url else _data_uri(item, stem)
    uuid = text(item.get(f"{stem}UUID"))
    if url is None and inline is None and uuid is None:
        return None
    media = media_type(url) if url else _inline_type(inline)
    known = stem.removeprefix("guide").removeprefix("mask").lower()
    return Artifact(
        id=uuid,
        kind=known if known != "media" else kind_of(media or ""),
        url=url or inline,
        media_type=media,
    )


def _files(item: dict[str, Any]) -> list[Artifact | None]:
    """Take what a 3D model consists of: it comes as a list of files, unlike all else."""
    return [_file(fields(each)) for each in few(fields(item.get("outputs")).get("files"))]


def _file(each: dict[str, Any]) -> Artifact | None:
    url = web_url(each.get("url"))
    if url is None:
        return None
    media = media_type(url)
    kind = kind_of(media) if media else "model"
    return Artifact(id=text(each.get("uuid")), kind=kind, url=url, media_type=media)


def _data_uri(item: dict[str, Any], stem: str) -> str | None:
    uri, raw = (text(item.get(stem + end)) for end in _INLINE)
    if uri and uri.startswith("data:"):
        return uri
    if raw is None:
        return None
    known = (ext for start, ext in _SIGNATURES if raw.startswith(start))
    media = f"image/{ext}" if (ext := next(known, None)) else "application/octet-stream"
    return f"data:{media};base64,{raw}"


def _inline_type(uri: str | None) -> str | None:
    found = (uri or "").removeprefix("data:").partition(";")[0]
    return found if "/" in found else None
