"""API keys in requests and responses."""

import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.domain.security.api_keys import DEFAULT_TENANT, ApiKey, Scope


class ApiKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as users see it; *key* itself only when it is made."""

    id: str
    object: str = "key"
    tenant: str
    name: str | None
    scopes: tuple[str, ...]
    created_at: str
    key: str | msgspec.UnsetType = msgspec.UNSET


def api_key_view(key: ApiKey, shown: str | msgspec.UnsetType = msgspec.UNSET) -> ApiKeyView:
    return ApiKeyView(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        scopes=key.scopes,
        created_at=rfc3339(key.created_at),
        key=shown,
    )


class ApiKeyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key for *tenant*, which comes into being with its first key."""

    scopes: list[Scope]
    tenant: str = DEFAULT_TENANT
    name: str | None = None
