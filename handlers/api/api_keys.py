"""Endpoints for API keys, with the scope `admin`."""

from typing import Final

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse, PageQuery, paginate
from handlers.schemas.api_keys import ApiKeyCreate, ApiKeyView, render_api_key
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
"""Characters of a key's name."""


async def create(request: ApiRequest[NoQuery]) -> ApiKeyView:
    """Create an API key. Only this response contains the key itself."""
    given = await request.body(ApiKeyCreate)
    _check(given)
    context, at = request.context, request.context.clock()
    plain_key = new_key(context.ids.random_bytes(RANDOM_BYTES))
    key = ApiKey(
        id=context.ids.new_id("key", at),
        hash=key_hash(plain_key),
        tenant=given.tenant,
        name=given.name,
        scopes=tuple(dict.fromkeys(given.scopes)),
        created_at=at,
    )
    await context.store.api_keys.put(key)
    return render_api_key(key, plain_key)


async def list_api_keys(request: ApiRequest[PageQuery]) -> ListResponse[ApiKeyView]:
    """List the API keys of all tenants, newest first, without the keys themselves."""
    keys = await request.context.store.api_keys.find(request.query.page())
    return paginate(
        [render_api_key(key) for key in keys], request.query.limit, [key.id for key in keys]
    )


async def delete(request: ApiRequest[NoQuery]) -> None:
    """Revoke an API key at once. Streams that were opened with it end."""
    key_id = request.id("key")
    await request.context.store.api_keys.delete(key_id)
    request.context.streams.revoke(key_id)


def _check(given: ApiKeyCreate) -> None:
    errors = []
    if not given.scopes:
        errors.append(FieldError("scopes", f"needs at least one of {', '.join(Scope)}"))
    if not TENANT.fullmatch(given.tenant):
        message = (
            "must have 1 to 64 letters, digits, dots, dashes and underscores,"
            " and begin with a letter or digit"
        )
        errors.append(FieldError("tenant", message))
    if given.name is not None and len(given.name) > MAX_NAME:
        errors.append(FieldError("name", f"may have at most {MAX_NAME} characters"))
    if errors:
        raise Invalid(errors)
