"""Signed callback URLs: the `t` parameter that proves a URL is one of ours."""

import hashlib
from collections.abc import Sequence
from typing import Final

from itsdangerous import BadData, TimestampSigner

from service.domain.primitives.timestamps import SECOND

_SALT: Final = "belfry.callback."


class _Signer(TimestampSigner):
    """A TimestampSigner that is told the time, with SHA-256 in place of the library's SHA-1."""

    default_digest_method = staticmethod(hashlib.sha256)
    at: int = 0

    def get_timestamp(self) -> int:
        return self.at // SECOND


class CallbackSigner:
    """Signs and reads the `t` of callback URLs.

    *keys* come oldest first: the newest signs, all verify. Age never refuses a token: a callback
    that comes late, or before its time because a clock stepped back, is still the provider's.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._signers: dict[str, _Signer] = {}

    def _signer(self, provider: str) -> _Signer:
        if provider not in self._signers:
            self._signers[provider] = _Signer(self._keys, salt=_SALT + provider)
        return self._signers[provider]

    def sign(self, provider: str, ref: str, at: int) -> str:
        signer = self._signer(provider)
        signer.at = at
        return signer.sign(ref).decode().removeprefix(ref + ".")

    def verify(self, provider: str, ref: str, token: str) -> bool:
        try:
            self._signer(provider).unsign(f"{ref}.{token}")
        except (BadData, UnicodeError, ValueError):
            return False
        return True
