"""Signed callback URLs: the query parameter `t` proves that we made the URL."""

import hashlib
from collections.abc import Sequence
from typing import Final

from itsdangerous import BadData, TimestampSigner

from service.domain.primitives.timestamps import SECOND

_SALT: Final = "belfry.callback."


class _Signer(TimestampSigner):
    """A TimestampSigner with an injected time and SHA-256 instead of the library's SHA-1."""

    default_digest_method = staticmethod(hashlib.sha256)
    at: int = 0

    def get_timestamp(self) -> int:
        return self.at // SECOND


class CallbackSigner:
    """Signs and verifies the tokens in the parameter `t` of callback URLs.

    *keys* are ordered from oldest to newest: the newest signs, all verify. A token has no expiry: a
    late callback is still valid, and so is one whose token seems to come from the future because a
    clock was set back.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = list(keys)
        self._signers: dict[str, _Signer] = {}

    def sign(self, provider: str, ref: str, at: int) -> str:
        """Make the token of a job's callback URL; *at* is the current time in microseconds."""
        signer = self._signer(provider)
        signer.at = at
        return signer.sign(ref).decode().removeprefix(ref + ".")

    def verify(self, provider: str, ref: str, token: str) -> bool:
        try:
            self._signer(provider).unsign(f"{ref}.{token}")
        except (BadData, UnicodeError, ValueError):
            return False
        return True

    def _signer(self, provider: str) -> _Signer:
        if provider not in self._signers:
            self._signers[provider] = _Signer(self._keys, salt=_SALT + provider)
        return self._signers[provider]
