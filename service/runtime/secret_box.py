"""Encrypts the secrets in the database with the keys of BELFRY_SECRET_KEYS."""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.domain.primitives.timestamps import SECOND


class SecretBox:
    """Encrypts with the newest of *keys*, decrypts with any of them; the oldest key comes first."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(_fernet_key(key)) for key in reversed(keys)])

    def seal(self, secret: str, at: int) -> str:
        """Encrypt *secret*; *at* is the current time in microseconds."""
        return self._fernet.encrypt_at_time(secret.encode(), at // SECOND).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a sealed secret; ValueError when none of the keys fits."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as exc:
            raise ValueError("no key of BELFRY_SECRET_KEYS can decrypt this secret") from exc


def _fernet_key(key: str) -> bytes:
    """Derive a key of 32 bytes, apart from that of other uses of the same secret key."""
    digest = hashlib.sha256(b"belfry.vault\x00" + key.encode()).digest()
    return base64.urlsafe_b64encode(digest)
