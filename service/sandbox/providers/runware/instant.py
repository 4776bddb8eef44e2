"""Task types that Runware answers at once: uploads, stored media, the model search, the account."""

from collections.abc import Iterable
from typing import Any, Final
from uuid import uuid4

from service.sandbox.ledger import Json

INSTANT_TYPES: Final = frozenset(
    {"imageUpload", "mediaStorage", "modelSearch", "accountManagement"}
)
_MAX_MEDIA: Final = 10_000
_DOCUMENTED_IMAGES: Final = (
    "5788104a-1ca7-4b7e-8a16-b27b57e86f87",
    "6963a97e-f017-408b-a447-6345ec31a4f0",
    "88eb3e0a-4db4-4c5a-9d3f-bf0ec07c7301",
    "99fc4f1b-5ec5-5d6b-ae4f-cf1fd18d8402",
)
"""The input images of Runware's page on image captions; they always exist."""
_MODELS: Final = (
    {"air": "runware:150@2", "name": "LLaVA-1.6-Mistral-7B"},
    {"air": "runware:151@1", "name": "OpenAI CLIP ViT-L/14"},
    {"air": "runware:152@1", "name": "Qwen2.5-VL-3B-Instruct"},
    {"air": "runware:152@2", "name": "Qwen2.5-VL-7B-Instruct"},
    {"air": "runware:153@1", "name": "ViT Age Classifier"},
    {"air": "runware:154@1", "name": "Open Age Detection"},
    {"air": "runware:152@50", "name": "Qwen2.5-VL-7B Age Detector"},
)


class StoredMedia:
    """The UUIDs of the newest *limit* stored and generated files, and those of the documents."""

    def __init__(self, limit: int = _MAX_MEDIA) -> None:
        self._limit = limit
        self._uuids: dict[str, None] = {}

    def __contains__(self, uuid: str) -> bool:
        return uuid.lower() in self._uuids or uuid.lower() in _DOCUMENTED_IMAGES

    def add(self, uuid: str) -> None:
        self._uuids[uuid.lower()] = None
        if len(self._uuids) > self._limit:
            del self._uuids[next(iter(self._uuids))]

    def add_results(self, items: Iterable[Json]) -> None:
        """Add the files of result items."""
        for item in items:
            for key, value in item.items():
                if key.endswith("UUID") and key != "taskUUID":
                    self.add(value)

    def discard(self, uuid: str) -> None:
        self._uuids.pop(uuid.lower(), None)


def instant_result(task: Json, stored: StoredMedia) -> Json:
    """Return the fields of the result of *task*, which is valid; store or delete its file."""
    match task["taskType"]:
        case "mediaStorage" if task["operation"] == "delete":
            stored.discard(task["mediaUUID"])
            return {"mediaUUID": task["mediaUUID"]}
        case "imageUpload" | "mediaStorage":
            medium = "image" if task["taskType"] == "imageUpload" else "media"
            uuid = str(uuid4())
            stored.add(uuid)
            url = f"https://im.runware.ai/image/ws/2/ii/{uuid}.jpg"
            return {f"{medium}UUID": uuid, f"{medium}URL": url}
        case "modelSearch":
            return _search(task)
    return {"operation": task.get("operation"), "organizationName": "Sandbox", "balance": 100.0}


def _search(task: Json) -> Json:
    """Find models by a part of their names, ignoring case."""
    words = task.get("search")
    words = words.lower() if isinstance(words, str) else ""
    found = [model for model in _MODELS if words in model["name"].lower()]
    start = _count(task.get("offset"), 0)
    return {
        "results": found[start : start + _count(task.get("limit"), len(_MODELS))],
        "totalResults": len(found),
    }


def _count(value: Any, default: int) -> int:
    return value if type(value) is int and value >= 0 else default
