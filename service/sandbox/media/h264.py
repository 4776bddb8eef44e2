"""H.264 video of the constrained baseline profile (ITU-T H.264), without compression of pictures.

The first frame consists of I_PCM macroblocks, which are the samples themselves. In each later
frame the macroblocks that changed are I_PCM, the others are skipped. Deblocking is off, so that
frames decode to exactly these samples.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import msgspec

MACROBLOCK: Final = 16
_PROFILE: Final = bytes([66, 0xC0, 30])  # baseline, constrained; level 3
_NAL_SPS: Final = 0x67
_NAL_PPS: Final = 0x68
_NAL_IDR: Final = 0x65
_NAL_P: Final = 0x61
_SLICE_P: Final = 5
_SLICE_I: Final = 7
_I_PCM: Final = 25
_MB_TYPES_OF_P: Final = 5
"""In P slices, the numbers of intra macroblock types begin after these."""
_LARGEST_ESCAPED: Final = 3


class Frame(msgspec.Struct, frozen=True):
    """The samples of a frame: luma, and the two chroma planes at half the width and height.

    *width* and *height* are those of luma, in multiples of 16.
    """

    width: int
    height: int
    luma: bytes
    blue: bytes
    red: bytes

    def macroblocks(self) -> list[bytes]:
        """Return the 384 samples of each macroblock, row by row."""
        half = MACROBLOCK // 2
        return [
            _block(self.luma, self.width, x, y, MACROBLOCK)
            + _block(self.blue, self.width // 2, x // 2, y // 2, half)
            + _block(self.red, self.width // 2, x // 2, y // 2, half)
            for y in range(0, self.height, MACROBLOCK)
            for x in range(0, self.width, MACROBLOCK)
        ]


class _BitWriter:
    """Writes the syntax elements of clause 7.2: fixed bits, ue(v), and whole bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._bits = ""

    def bits(self, bits: str) -> None:
        self._bits += bits

    def ue(self, *values: int) -> None:
        """Write unsigned Exp-Golomb codes (clause 9.1)."""
        for value in values:
            code = f"{value + 1:b}"
            self._bits += "0" * (len(code) - 1) + code

    def aligned_bytes(self, data: bytes) -> None:
        self._flush()
        self._bytes += data

    def finish(self) -> bytes:
        """Write the stop bit and return the payload of the NAL unit."""
        self._bits += "1"
        self._flush()
        return bytes(self._bytes)

    def _flush(self) -> None:
        bits = self._bits + "0" * (-len(self._bits) % 8)
        self._bytes += int(f"1{bits}", 2).to_bytes(len(bits) // 8 + 1, "big")[1:]
        self._bits = ""


def sequence_parameters(width: int, height: int) -> bytes:
    """Build the SPS (clause 7.3.2.1); *width* and *height* are even, and cropped to."""
    columns, rows = -(-width // MACROBLOCK), -(-height // MACROBLOCK)
    writer = _BitWriter()
    writer.aligned_bytes(_PROFILE)
    # id, log2(max frame number) - 4, output order is decoding order (type 2), reference frames
    writer.ue(0, 0, 2, 1)
    writer.bits("0")  # no gaps in frame numbers
    writer.ue(columns - 1, rows - 1)
    writer.bits("111")  # frames only, 8x8 inference, cropping
    writer.ue(0, (columns * MACROBLOCK - width) // 2, 0, (rows * MACROBLOCK - height) // 2)
    writer.bits("0")  # no usability information
    return _nal(_NAL_SPS, writer)


def picture_parameters() -> bytes:
    """Build the PPS (clause 7.3.2.2)."""
    writer = _BitWriter()
    writer.ue(0, 0)  # ids
    writer.bits("00")  # CAVLC, no field order
    writer.ue(0, 0, 0)  # one slice group, one reference frame in each list
    writer.bits("000")  # no weighted prediction
    writer.ue(0, 0, 0)  # quantizers, not used
    writer.bits("100")  # slices say how they are deblocked; no constraints, no redundancy
    return _nal(_NAL_PPS, writer)


def encode(frames: Sequence[Frame]) -> Iterator[bytes]:
    """Yield one NAL unit for each of *frames*, which have the same size."""
    previous = frames[0].macroblocks()
    yield _idr_slice(previous)
    for number, (before, frame) in enumerate(pairwise(frames), start=1):
        blocks = previous if frame is before else frame.macroblocks()
        yield _p_slice(number, previous, blocks)
        previous = blocks


def _idr_slice(blocks: Sequence[bytes]) -> bytes:
    writer = _BitWriter()
    writer.ue(0, _SLICE_I, 0)  # first macroblock, type, PPS
    writer.bits("0000")  # frame number
    writer.ue(0)  # IDR picture id
    writer.bits("00")  # output earlier pictures, short-term reference
    writer.ue(0, 1)  # quantizer, no deblocking
    for block in blocks:
        writer.ue(_I_PCM)
        writer.aligned_bytes(block)
    return _nal(_NAL_IDR, writer)


def _p_slice(number: int, before: Sequence[bytes], blocks: Sequence[bytes]) -> bytes:
    writer = _BitWriter()
    writer.ue(0, _SLICE_P, 0)
    writer.bits(f"{number % 16:04b}")
    writer.bits("000")  # default reference list, unchanged; sliding window
    writer.ue(0, 1)
    skipped = 0
    for old, new in zip(before, blocks, strict=True):
        if old == new:
            skipped += 1
            continue
        writer.ue(skipped, _MB_TYPES_OF_P + _I_PCM)
        writer.aligned_bytes(new)
        skipped = 0
    if skipped:
        writer.ue(skipped)
    return _nal(_NAL_P, writer)


def _nal(header: int, writer: _BitWriter) -> bytes:
    """Build a NAL unit; a byte 3 keeps start codes out of the payload (clause 7.4.1.1)."""
    payload, unit, at = writer.finish(), bytearray([header]), 0
    while (zeros := payload.find(b"\0\0", at)) >= 0:
        unit += payload[at : zeros + 2]
        at = zeros + 2
        if payload[at] <= _LARGEST_ESCAPED:  # a payload does not end with zeros
            unit.append(3)
    return bytes(unit + payload[at:])


def _block(plane: bytes, stride: int, x: int, y: int, side: int) -> bytes:
    return b"".join(
        plane[start : start + side]
        for start in range(y * stride + x, (y + side) * stride + x, stride)
    )
