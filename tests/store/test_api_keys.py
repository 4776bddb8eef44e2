"""API keys."""

import pytest

from service.domain.primitives.errors import NotFound
from service.transactions.store_protocols import Page, Store
from tests.support.factories import a_key
from tests.support.store_steps import ALL

pytestmark = pytest.mark.anyio


async def test_a_key_is_found_by_its_hash_until_it_is_deleted(store: Store) -> None:
    key = a_key(scopes=("jobs:read", "admin"), name="ci")
    before = await store.api_keys.is_empty()
    await store.api_keys.put(key)

    assert (before, await store.api_keys.is_empty()) == (True, False)
    assert await store.api_keys.by_hash(key.hash) == key
    assert await store.api_keys.by_hash("another") is None
    assert await store.api_keys.exists(key.id)
    await store.api_keys.delete(key.id)
    assert await store.api_keys.by_hash(key.hash) is None
    assert not await store.api_keys.exists(key.id)


async def test_a_key_with_a_stored_hash_does_not_replace_the_stored_one(store: Store) -> None:
    key = a_key()
    await store.api_keys.put(key)

    await store.api_keys.put(a_key(hash=key.hash, name="duplicate"))

    assert await store.api_keys.find(ALL) == [key]


async def test_keys_are_listed_newest_first(store: Store) -> None:
    keys = [a_key(hash=f"hash {n}") for n in range(3)]
    for key in keys:
        await store.api_keys.put(key)

    assert await store.api_keys.find(Page(limit=2)) == [keys[2], keys[1]]
    assert await store.api_keys.find(Page(limit=2, cursor=keys[1].id)) == [keys[0]]


async def test_deleting_an_unknown_key_raises_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.api_keys.delete("key_none")
