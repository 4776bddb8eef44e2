"""Signatures: of callback URLs, of the webhooks we send, and the seal on secrets at rest."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from itsdangerous import BadData, TimestampSigner

from service.times import SECOND

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how such secrets begin
SECRET_BYTES: Final = 32
_SALT: Final = "belfry.callback."


class _Signer(TimestampSigner):
    """A TimestampSigner that is told the time, with SHA-256 in place of the library's SHA-1."""

    default_digest_method = staticmethod(hashlib.sha256)
    at: int = 0

    def get_timestamp(self) -> int:
        return self.at // SECOND


class CallbackTokens:
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


def new_secret(noise: bytes) -> str:
    """Make a subscription's secret of 32 random bytes, as Standard Webhooks writes them."""
    return SECRET_PREFIX + base64.b64encode(noise).decode()


def secret_bytes(secret: str) -> bytes:
    """Read the key out of a `whsec_` secret; ValueError when it is none."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError("a secret is whsec_ and base64") from exc


def webhook_signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Sign the exact bytes of *body* as Standard Webhooks asks; *timestamp* in seconds."""
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()


class Vault:
    """Seals secrets at rest; *keys* oldest first: the newest seals, all open."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_fernet_key(key)) for key in reversed(keys)])

    def seal(self, secret: str, at: int) -> str:
        return self._fernet.encrypt_at_time(secret.encode(), at // SECOND).decode()

    def open(self, sealed: str) -> str:
        """Open a sealed secret; ValueError when no key fits."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as exc:
            raise ValueError("no key of BELFRY_SECRET_KEYS opens this secret") from exc


def _fernet_key(key: str) -> bytes:
    digest = hashlib.sha256(b"belfry.vault\x00" + key.encode()).digest()
    return base64.urlsafe_b64encode(digest)


def key_hash(key: str) -> str:
    """Hash an API key; a plain hash is enough because keys are random, not chosen."""
    return hashlib.sha256(b"belfry.key\x00" + key.encode()).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), expected.encode())
