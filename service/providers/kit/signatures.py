"""How vendors sign callbacks: Standard Webhooks, Ed25519 with published keys, a shared secret."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.domain.primitives.timestamps import SECOND
from service.providers.kit.coercion import as_dict, as_list, json_or_none, text
from service.providers.kit.http_status import is_success
from service.providers.protocol import Call, Reply

MAX_CLOCK_SKEW_SECONDS: Final = 300
"""Standard Webhooks and fal's page on webhooks: older or younger messages are refused."""
_KEY_BYTES: Final = 32
_SIGNATURE_BYTES: Final = 64
_MAX_KEYS: Final = 20
_MAX_SIGNATURES: Final = 20
_SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - it is public


class StandardWebhooks(msgspec.Struct, frozen=True, kw_only=True):
    """Signatures by standardwebhooks.com: HMAC-SHA256 with the secret that *secret_path* returns.

    The response has the secret in `key`, as Replicate's `GET /v1/webhooks/default/secret`.
    """

    secret_path: str

    def keys_request(self, keys_url: str | None) -> Call | None:  # noqa: ARG002 - see the protocol
        return Call(method="GET", path=self.secret_path)

    def read_keys(self, reply: Reply) -> Sequence[bytes]:
        secret = text(_body(reply).get("key")) or ""
        key = _base64(secret.removeprefix(_SECRET_PREFIX))
        return [key] if key else []

    def is_valid(
        self, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, at: int
    ) -> bool:
        message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not message_id or not _is_recent(sent_at, at):
            return False
        message = f"{message_id}.{sent_at}.".encode() + body
        given = headers.get("webhook-signature", "").split()[:_MAX_SIGNATURES]
        signatures = [_base64(one.removeprefix("v1,")) for one in given if one.startswith("v1,")]
        expected = [hmac.digest(key, message, hashlib.sha256) for key in keys]
        return any(hmac.compare_digest(e, s) for e in expected for s in signatures)


class PublishedEd25519(msgspec.Struct, frozen=True, kw_only=True):
    """Ed25519 signatures in hexadecimal, with the keys of a JSON Web Key Set (RFC 8037).

    The signed message are four lines: the values of *headers*, which are the ids of request and
    user and the time in seconds, and the SHA-256 of the body in hexadecimal. Source: fal's page on
    webhooks; Ideogram signs the same message.
    """

    headers: tuple[str, str, str]
    signature_header: str

    def keys_request(self, keys_url: str | None) -> Call | None:
        return Call(method="GET", path=keys_url or "")

    def read_keys(self, reply: Reply) -> Sequence[bytes]:
        listed = [as_dict(key) for key in as_list(_body(reply).get("keys"))[:_MAX_KEYS]]
        keys = [_base64(text(key.get("x")) or "") for key in listed if key.get("kty") == "OKP"]
        return [key for key in keys if len(key) == _KEY_BYTES]

    def is_valid(
        self, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, at: int
    ) -> bool:
        values = [headers.get(name, "") for name in self.headers]
        if not all(values) or not _is_recent(values[-1], at):
            return False
        try:
            signature = bytes.fromhex(headers.get(self.signature_header, ""))
        except ValueError:
            return False
        if len(signature) != _SIGNATURE_BYTES:
            return False
        message = "\n".join([*values, hashlib.sha256(body).hexdigest()]).encode()
        return any(_is_signed(key, signature, message) for key in keys)


class SharedSecret(msgspec.Struct, frozen=True, kw_only=True):
    """The account's webhook secret, sent as it is in *header* after *prefix*."""

    header: str
    prefix: str = ""

    def keys_request(self, keys_url: str | None) -> Call | None:  # noqa: ARG002 - see the protocol
        return None

    def read_keys(self, reply: Reply) -> Sequence[bytes]:  # noqa: ARG002 - nothing is fetched
        return []

    def is_valid(
        self,
        keys: Sequence[bytes],
        headers: Mapping[str, str],
        body: bytes,  # noqa: ARG002 - the secret does not depend on it
        at: int,  # noqa: ARG002
    ) -> bool:
        given = headers.get(self.header, "").encode()
        return any(hmac.compare_digest(given, self.prefix.encode() + key) for key in keys)


def _body(reply: Reply) -> dict[str, Any]:
    return as_dict(json_or_none(reply.body)) if is_success(reply.status) else {}


def _base64(encoded: str) -> bytes:
    """Decode base64 in either alphabet, padded or not; empty if it is not base64."""
    standard = encoded.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _is_recent(sent_at: str, at: int) -> bool:
    """Tell whether *sent_at*, in seconds since 1970, is at most five minutes from *at*."""
    if not (sent_at.isascii() and sent_at.isdigit() and len(sent_at) <= 15):  # noqa: PLR2004
        return False
    return abs(int(sent_at) * SECOND - at) <= MAX_CLOCK_SKEW_SECONDS * SECOND


def _is_signed(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
