"""PNG files with a palette (RFC 2083)."""

import zlib
from collections.abc import Sequence

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PALETTE_OF_8_BITS = b"\x08\x03\x00\x00\x00"


def encode(width: int, height: int, palette: Sequence[tuple[int, int, int]], rows: bytes) -> bytes:
    """Encode a picture of at most 256 colours; *rows* has a palette index for each pixel."""
    lines = b"".join(b"\0" + rows[y * width : (y + 1) * width] for y in range(height))
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", size + _PALETTE_OF_8_BITS),
            _chunk(b"PLTE", bytes(value for colour in palette for value in colour)),
            _chunk(b"IDAT", zlib.compress(lines, 6)),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(name + data)
    return len(data).to_bytes(4, "big") + name + data + crc.to_bytes(4, "big")
