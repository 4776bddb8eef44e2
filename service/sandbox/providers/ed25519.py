"""Ed25519 signatures as fal and Ideogram make them, with a key that is made at the start."""

import base64
import hashlib
import time
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.sandbox.ledger import Json

KEY_ID: Final = "sandbox-1"
USER_ID: Final = "user_sandbox"


class WebhookKey:
    """The key pair of one vendor."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def public_set(self) -> Json:
        """Return the public key as a JSON Web Key Set (RFC 8037)."""
        encoded = base64.urlsafe_b64encode(self._key.public_key().public_bytes_raw())
        key = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": KEY_ID}
        return {"keys": [{**key, "x": encoded.rstrip(b"=").decode()}]}

    def sign(self, prefix: str, id_header: str, task_id: str, body: bytes) -> dict[str, str]:
        """Make the headers of a callback; their names begin with *prefix*.

        *id_header* is the rest of the name of the one that has *task_id*.
        """
        sent_at = str(int(time.time()))
        digest = hashlib.sha256(body).hexdigest()
        message = f"{task_id}\n{USER_ID}\n{sent_at}\n{digest}".encode()
        return {
            f"{prefix}-{id_header}": task_id,
            f"{prefix}-User-Id": USER_ID,
            f"{prefix}-Timestamp": sent_at,
            f"{prefix}-Key-Id": KEY_ID,
            f"{prefix}-Signature": self._key.sign(message).hex(),
        }
