"""API keys over HTTP: made, listed, revoked; for admins."""

from typing import Final

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.api_keys import ApiKeyCreate, ApiKeyView, api_key_view
from service.domain.primitives.errors import FieldError, Invalid
from service.domain.security.api_keys import (
    RANDOM_BYTES,
    TENANT,
    ApiKey,
    Scope,
    key_hash,
    new_key,
)

MAX_NAME: Final = 200


async def create(request: ApiRequest[NoQuery]) -> ApiKeyView:
    """Make a key; it is shown here and never again."""
    given = await request.body(ApiKeyCreate)
    _check(given)
    context, at = request.context, request.context.clock()
    shown = new_key(context.ids.random_bytes(RANDOM_BYTES))
    key = ApiKey(
        id=context.ids.new_id("key", at),
        hash=key_hash(shown),
        tenant=given.tenant,
        name=given.name,
        scopes=tuple(dict.fromkeys(given.scopes)),
        created_at=at,
    )
    await context.store.api_keys.put(key)
    return api_key_view(key, shown)


async def listing(request: ApiRequest[PageQuery]) -> ListResponse[ApiKeyView]:
    """List all keys, without the keys themselves."""
    keys = await request.context.store.api_keys.find(request.query.page())
    return paginate(
        [api_key_view(key) for key in keys], request.query.limit, [key.id for key in keys]
    )


async def delete(request: ApiRequest[NoQuery]) -> None:
    """Revoke a key at once; streams that were opened with it end."""
    key_id = request.id("key")
    await request.context.store.api_keys.delete(key_id)
    request.context.streams.revoke(key_id)


def _check(given: ApiKeyCreate) -> None:
    errors = []
    if not given.scopes:
        errors.append(FieldError("scopes", f"needs at least one of {', '.join(Scope)}"))
    if not TENANT.fullmatch(given.tenant):
        errors.append(FieldError("tenant", "must be up to 64 letters, digits, dots, dashes"))
    if given.name is not None and len(given.name) > MAX_NAME:
        errors.append(FieldError("name", f"may have at most {MAX_NAME} characters"))
    if errors:
        raise Invalid(errors)
