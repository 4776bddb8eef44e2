"""The lines to the providers: how we reach each, and where it reaches us."""

import msgspec

from service.provider_client import ProviderClient
from service.providers import Provider


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How we reach one provider, and where it reaches us."""

    provider: Provider
    client: ProviderClient
    max_jobs: int
    callback_base: str
