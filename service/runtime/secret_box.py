"""Encrypts secrets at rest with the keys of BELFRY_SECRET_KEYS."""

import base64
import hashlib
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from service.domain.primitives.timestamps import SECOND


class SecretBox:
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
