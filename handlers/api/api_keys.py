"""API keys over HTTP: made, listed, revoked; for admins."""

from typing import Final

from handlers.http.endpoint import Nothing, Visit
from handlers.http.pagination import Listed, Paged, listed
from handlers.schemas.api_keys import KeyView, NewKey, view
from service.domain.primitives.errors import Fault, Invalid
from service.domain.security.api_keys import (
    NOISE_BYTES,
    TENANT,
    Key,
    Scope,
    key_hash,
    new_key,
)

MAX_NAME: Final = 200


async def create(visit: Visit[Nothing]) -> KeyView:
    """Make a key; it is shown here and never again."""
    given = await visit.body(NewKey)
    _check(given)
    context, at = visit.context, visit.context.clock()
    shown = new_key(context.chance.noise(NOISE_BYTES))
    key = Key(
        id=context.chance.new_id("key", at),
        hash=key_hash(shown),
        tenant=given.tenant,
        name=given.name,
        scopes=tuple(dict.fromkeys(given.scopes)),
        created_at=at,
    )
    await context.store.put_key(key)
    return view(key, shown)


async def listing(visit: Visit[Paged]) -> Listed[KeyView]:
    """List all keys, without the keys themselves."""
    keys = await visit.context.store.keys(visit.query.page())
    return listed([view(key) for key in keys], visit.query.limit, [key.id for key in keys])


async def delete(visit: Visit[Nothing]) -> None:
    """Revoke a key at once; streams that were opened with it end."""
    key_id = visit.id("key")
    await visit.context.store.delete_key(key_id)
    visit.context.streams.revoke(key_id)


def _check(given: NewKey) -> None:
    faults = []
    if not given.scopes:
        faults.append(Fault("scopes", f"needs at least one of {', '.join(Scope)}"))
    if not TENANT.fullmatch(given.tenant):
        faults.append(Fault("tenant", "must be up to 64 letters, digits, dots, dashes"))
    if given.name is not None and len(given.name) > MAX_NAME:
        faults.append(Fault("name", f"may have at most {MAX_NAME} characters"))
    if faults:
        raise Invalid(faults)
