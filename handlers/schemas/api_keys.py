"""API keys in requests and responses."""

import msgspec

from service.domain.primitives.timestamps import rfc3339
from service.domain.security.api_keys import DEFAULT_TENANT, ApiKey, Scope


class ApiKeyView(msgspec.Struct, frozen=True, kw_only=True):
    """An API key. Only the response that creates it contains the *key* itself."""

    id: str
    object: str = "key"
    tenant: str
    name: str | None
    scopes: tuple[str, ...]
    created_at: str
    key: str | msgspec.UnsetType = msgspec.UNSET


def render_api_key(key: ApiKey, plain_key: str | msgspec.UnsetType = msgspec.UNSET) -> ApiKeyView:
    return ApiKeyView(
        id=key.id,
        tenant=key.tenant,
        name=key.name,
        scopes=key.scopes,
        created_at=rfc3339(key.created_at),
        key=plain_key,
    )


class ApiKeyCreate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new API key for *tenant*. The first key of a tenant creates the tenant."""

    scopes: list[Scope]
    tenant: str = DEFAULT_TENANT
    name: str | None = None
