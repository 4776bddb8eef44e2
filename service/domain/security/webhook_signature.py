"""Webhook secrets and signatures of the Standard Webhooks specification (standardwebhooks.com)."""

import base64
import binascii
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix, not a secret
SECRET_BYTES: Final = 32


def new_secret(random_bytes: bytes) -> str:
    """Make the secret of a subscription from 32 random bytes."""
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


def secret_bytes(secret: str) -> bytes:
    """Decode the key of a `whsec_` secret; ValueError when it is not base64."""
    try:
        return base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as exc:
        raise ValueError("a secret must be whsec_ followed by base64") from exc


def webhook_signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Make the header `webhook-signature` for the exact bytes of *body*; *timestamp* in seconds."""
    digest = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(digest).decode()
