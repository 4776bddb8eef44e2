"""Webhook secrets and signatures, as the Standard Webhooks specification defines them."""

import base64
import binascii
import hmac
from typing import Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - how such secrets begin
SECRET_BYTES: Final = 32


def new_secret(random_bytes: bytes) -> str:
    """Make a subscription's secret of 32 random bytes, as Standard Webhooks writes them."""
    return SECRET_PREFIX + base64.b64encode(random_bytes).decode()


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
