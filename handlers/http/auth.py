"""Authentication with API keys; malformed keys are refused without a database query."""

from typing import Final

from starlette.requests import Request

from service.context import AppContext
from service.domain.primitives.errors import Unauthorized
from service.domain.security.api_keys import (
    DEFAULT_TENANT,
    Principal,
    Scope,
    constant_time_equal,
    is_well_formed,
    key_hash,
)

_BEARER: Final = "bearer "
_ADMIN: Final = Principal(tenant=DEFAULT_TENANT, scopes=(Scope.ADMIN,))


async def authenticate(request: Request, context: AppContext) -> Principal:
    """Return the owner of the API key; Unauthorized if it is missing, wrong or revoked."""
    header = request.headers.get("authorization", "")
    if header[: len(_BEARER)].lower() != _BEARER:
        raise Unauthorized("Send your API key as Authorization: Bearer KEY.")
    given = header[len(_BEARER) :].strip()
    admin_key = context.settings.admin_key
    if admin_key is not None and constant_time_equal(given, admin_key):
        return _ADMIN
    key = await context.store.api_keys.by_hash(key_hash(given)) if is_well_formed(given) else None
    if key is None:
        raise Unauthorized("This API key is not valid.")
    return Principal(tenant=key.tenant, scopes=key.scopes, key_id=key.id)
