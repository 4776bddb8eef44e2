"""The assets of useapi.net: uploaded files and the files that tasks made, without their content."""

from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.sandbox.ledger import Json, now

USER: Final = "user:1"
EXTENSIONS: Final = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/quicktime": "mov",
    "video/3gpp": "3gp",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/mp2t": "ts",
    "video/x-msvideo": "avi",
    "video/x-motion-jpeg": "mjpeg",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "audio/wav": "wav",
    "audio/wave": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/webm": "webm",
}
"""File extension by media type, in lower case (useapi.net, post-runwayml-assets)."""
_EXAMPLE_UUID: Final = UUID(int=1, version=4)
MAX_ASSETS: Final = 40_000


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One file of an account; *size* is in bytes, *task_id* None for an upload."""

    email: str
    id: str
    name: str
    media_type: str
    size: int
    created_at: str
    url: str
    task_id: str | None = None
    metadata: Json | None = None

    @property
    def asset_id(self) -> str:
        return asset_id(self.email, self.id)

    @property
    def kind(self) -> str:
        return self.media_type.partition("/")[0]

    def uploaded(self) -> Json:
        """Build the answer of `POST /assets/`."""
        user = {
            "id": 1,
            "username": "sandbox",
            "firstName": "Sandbox",
            "lastName": "User",
            "picture": None,
            "teamName": "sandbox",
            "teamPicture": None,
        }
        return {
            **self._common(),
            "user": user,
            "description": "",
            "type": {"name": self.kind, "type": self.kind, "isDirectory": False},
            "size": self.size,
            "permissions": {"read": True, "write": True, "admin": True},
            "annotated": False,
            "sourceApplication": "web",
            "createdBy": user,
        }

    def listed(self) -> Json:
        """Build the answer of `GET /assets/{assetId}` and an entry of `GET /assets/`."""
        entry = {
            **self._common(),
            "mediaType": self.kind,
            "mediaSubtype": None,
            "fileSize": self.size,
            "fileExtStandardized": EXTENSIONS[self.media_type],
            "metadata": self.metadata,
            "username": "sandbox",
            "userPicture": None,
            "userId": 1,
            "createdBy": 1,
            "privateInTeam": True,
            "parentAssetGroupId": None,
        }
        return entry if self.task_id is None else {**entry, "taskId": self.task_id}

    def _common(self) -> Json:
        return {
            "assetId": self.asset_id,
            "id": self.id,
            "createdAt": self.created_at,
            "updatedAt": self.created_at,
            "name": self.name,
            "url": self.url,
            "previewUrls": [f"https://runway.example.com/{self.id}-preview.jpg"],
            "fileCount": 1,
            "private": True,
            "isUserUpload": self.task_id is None,
            "favorite": False,
        }


def asset_id(email: str, uuid: str) -> str:
    return f"{USER}-runwayml:{email}-asset:{uuid}"


def example_asset(email: str) -> str:
    """Return the id of the image that exists in every account from the start."""
    return asset_id(email, str(_EXAMPLE_UUID))


def is_example(asset_id: str) -> bool:
    return asset_id.endswith(f":{_EXAMPLE_UUID}")


class AssetStore:
    """The newest assets of all accounts, at most *limit*, and the example image of each."""

    def __init__(self, emails: list[str], limit: int = MAX_ASSETS) -> None:
        self._assets: dict[str, Asset] = {}
        self._limit = limit
        for email in emails:
            self.upload(email, "lighthouse.png", "image/png", 1_250_000, str(_EXAMPLE_UUID))

    def upload(
        self, email: str, name: str, media_type: str, size: int, uuid: str | None = None
    ) -> Asset:
        uuid = uuid or str(uuid4())
        asset = Asset(
            email=email,
            id=uuid,
            name=name,
            media_type=media_type,
            size=size,
            created_at=rfc3339(now()),
            url=f"https://runway.example.com/{uuid}.{EXTENSIONS[media_type]}",
        )
        self._add(asset)
        return asset

    def add_artifacts(self, email: str, task: Json) -> None:
        """Add the artifacts of *task*: they can be inputs of other tasks."""
        for artifact in task["artifacts"]:
            is_video = "frameRate" in artifact["metadata"]
            asset = Asset(
                email=email,
                id=artifact["id"],
                name=artifact["filename"],
                media_type="video/mp4" if is_video else "image/png",
                size=int(artifact["fileSize"]),
                created_at=task["updatedAt"],
                url=artifact["url"],
                task_id=task["taskId"],
                metadata=artifact["metadata"],
            )
            self._add(asset)

    def find(self, asset_id: Any) -> Asset | None:
        return self._assets.get(asset_id) if isinstance(asset_id, str) else None

    def delete(self, asset_id: str) -> None:
        self._assets.pop(asset_id, None)

    def newest(self, email: str, kind: str | None) -> list[Asset]:
        """List the assets of *email* of media type *kind* (None: of all), newest first."""
        return [
            asset
            for asset in reversed(self._assets.values())
            if asset.email == email and kind in (None, asset.kind)
        ]

    def _add(self, asset: Asset) -> None:
        self._assets[asset.asset_id] = asset
        if len(self._assets) > self._limit:
            del self._assets[next(key for key in self._assets if not is_example(key))]
