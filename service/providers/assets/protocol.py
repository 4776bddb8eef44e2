"""What a provider implements to take assets: files that jobs name as their input. No I/O."""

from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from service.domain.jobs.results import JobError
from service.providers.kit.coercion import identifier, web_url
from service.providers.protocol import Call, Inconclusive, Reply, RetryLater

MEBIBYTE: Final = 1024 * 1024
MAX_ID: Final = 1024
MAX_URL: Final = 8192
"""Characters of an asset's id and URL."""


class AssetRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider takes: files of at most *max_bytes* bytes, of *media_types* in lower case.

    *page_size* is the largest page of the list of the account's assets, *max_offset* the last
    start of a page. *has_accounts*: an account suffix selects one of several accounts.
    """

    max_bytes: int
    media_types: frozenset[str]
    has_accounts: bool = False
    page_size: int = 100
    max_offset: int = 0


class NewAsset(msgspec.Struct, frozen=True, kw_only=True):
    """A file to upload. *ref* is a UUIDv4 of ours; *account* is an account suffix."""

    ref: str
    name: str
    media_type: str
    account: str | None = None


class UploadCall(msgspec.Struct, frozen=True, kw_only=True):
    """A POST whose body is *before*, then the file, in base64 if *in_base64*, then *after*.

    *path* is as in `Call`; *media_type* is that of the whole body.
    """

    path: str
    media_type: str
    before: bytes = b""
    after: bytes = b""
    in_base64: bool = False


class ProviderAsset(msgspec.Struct, frozen=True, kw_only=True):
    """An asset as its provider describes it; None for what it does not say."""

    id: str
    name: str | None = None
    media_type: str | None = None
    size: int | None = None
    url: str | None = None


Refusal = JobError | RetryLater | Inconclusive
"""Why a provider did not do what was asked; after Inconclusive it may have done it."""


class AssetApi(Protocol):
    """The assets of one provider, as the rest of the service uses them."""

    rules: AssetRules

    def upload(self, new: NewAsset) -> UploadCall:
        """Build the request that uploads a file."""
        ...

    def read_upload(self, reply: Reply) -> ProviderAsset | Refusal:
        """Read the response to an upload."""
        ...

    def delete(self, provider_asset_id: str) -> Call | None:
        """Build the request that deletes an asset; None if the provider has none."""
        ...

    def read_delete(self, reply: Reply) -> Refusal | None:
        """Read the response to a deletion; None if the asset is gone, also if it was before."""
        ...

    def page(self, account: str | None, offset: int, limit: int) -> Call | None:
        """Build the request for a page of the account's assets; None if the provider has none."""
        ...

    def read_page(self, reply: Reply) -> Sequence[ProviderAsset] | Refusal:
        """Read a page of the account's assets."""
        ...


def asset_id(value: Any) -> str | None:
    """Read an asset's id; None if it is too long, or would be a relative path segment."""
    found = identifier(value)
    return found if found and len(found) <= MAX_ID and found.strip(".") else None


def asset_url(value: Any) -> str | None:
    """Read an asset's URL; None if it is too long to be kept."""
    url = web_url(value)
    return url if url and len(url) <= MAX_URL else None
