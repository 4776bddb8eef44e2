import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.schemas.api_keys import render_api_key
from service.domain.security.api_keys import (
    RANDOM_BYTES,
    TENANT,
    Principal,
    Scope,
    is_well_formed,
    new_key,
)
from tests.support.factories import a_key

KEY = new_key(bytes(range(RANDOM_BYTES)))


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_every_new_key_is_well_formed(random_bytes: bytes) -> None:
    assert is_well_formed(new_key(random_bytes))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bfy_",
        KEY[:-1],
        KEY + "0",
        KEY + "\n",
        KEY.upper(),
        KEY.replace("bfy_", "key_"),
        KEY.replace("00", "01", 1),
        KEY[:-8] + "00000000",
        "bfy_" + "é" * 56,
    ],
)
def test_an_invalid_key_is_recognised_without_a_lookup(text: str) -> None:
    assert not is_well_formed(text)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        (("jobs:read",), {Scope.JOBS_READ}),
        (("jobs:read", "jobs:write"), {Scope.JOBS_READ, Scope.JOBS_WRITE}),
        (("subscriptions:write",), {Scope.SUBSCRIPTIONS_WRITE}),
        (("admin",), set(Scope)),
        ((), set()),
    ],
)
def test_a_key_allows_what_its_scopes_name(scopes: tuple[str, ...], allowed: set[Scope]) -> None:
    caller = Principal(tenant="acme", scopes=scopes)

    assert {scope for scope in Scope if caller.may(scope)} == allowed


@pytest.mark.parametrize("name", ["a", "acme", "Acme-1.test_2", "7", "a" * 64])
def test_a_valid_tenant_name_is_accepted(name: str) -> None:
    assert TENANT.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a/b", "ü", "a" * 65, "a\n"])
def test_an_invalid_tenant_name_is_refused(name: str) -> None:
    assert not TENANT.fullmatch(name)


def test_a_key_is_rendered_without_its_hash() -> None:
    key = a_key(name="ci")

    assert msgspec.to_builtins(render_api_key(key)) == {
        "id": key.id,
        "object": "key",
        "tenant": "acme",
        "name": "ci",
        "scopes": ("jobs:read",),
        "created_at": "2026-01-01T12:00:00.000Z",
    }


def test_a_new_key_is_rendered_with_its_secret_once() -> None:
    assert render_api_key(a_key(), KEY).key == KEY
