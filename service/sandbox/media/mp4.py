"""MP4 files with one H.264 track (ISO/IEC 14496-12 and 14496-15)."""

from collections.abc import Sequence
from struct import pack
from typing import Final

from service.sandbox.media import h264
from service.sandbox.media.files import MediaFile
from service.sandbox.media.scenery import Rgb, Scenery

_POSES: Final = 12
"""How often the picture changes, however long the video lasts: each change takes kilobytes."""
_TICKS: Final = 512
"""Units of time in a frame."""
_MATRIX: Final = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_LANGUAGE_UNDETERMINED: Final = 0x55C4


def encode(file: MediaFile) -> bytes:
    """Return a video of the sun rising over the scenery of *file*."""
    units = [len(unit).to_bytes(4, "big") + unit for unit in h264.encode(_frames(file))]
    start = _box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")
    sizes = [len(unit) for unit in units]
    # The header says where the frames begin, which depends on its own length.
    offset = len(start) + len(_movie(file, sizes, 0)) + 8
    return start + _movie(file, sizes, offset) + _box(b"mdat", *units)


def _frames(file: MediaFile) -> list[h264.Frame]:
    sides = file.width, file.height
    width, height = (-(-side // h264.MACROBLOCK) * h264.MACROBLOCK for side in sides)
    scenery = Scenery(file, width, height)
    count = min(_POSES, file.frames)
    luma, blue, red = (bytes(table) for table in zip(*map(_ycbcr, scenery.palette), strict=True))
    padding = bytes(256 - len(luma))
    poses = []
    for pose in range(count):
        rows = scenery.draw(pose / _POSES)
        halved = b"".join(rows[y : y + width : 2] for y in range(0, len(rows), 2 * width))
        planes = (rows, luma), (halved, blue), (halved, red)
        samples = (plane.translate(table + padding) for plane, table in planes)
        poses.append(h264.Frame(width, height, *samples))
    return [poses[n * count // file.frames] for n in range(file.frames)]


def _ycbcr(colour: Rgb) -> tuple[int, int, int]:
    """Convert by ITU-R BT.601 to 16…235 and 16…240."""
    red, green, blue = (value / 255 for value in colour)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return (
        round(16 + 219 * luma),
        round(128 + 224 * (blue - luma) / 1.772),
        round(128 + 224 * (red - luma) / 1.402),
    )


def _movie(file: MediaFile, sizes: Sequence[int], offset: int) -> bytes:
    """Build the movie's header; *offset* is where the first frame begins."""
    scale = file.fps * _TICKS
    duration = len(sizes) * _TICKS
    head = pack(">IIIIIIHHQ", 0, 0, 0, scale, duration, 0x10000, 0x100, 0, 0)
    movie_head = _box(b"mvhd", head, _MATRIX, bytes(24), pack(">I", 2))
    track_head = _box(
        b"tkhd",
        pack(">IIIIII", 3, 0, 0, 1, 0, duration),  # enabled and in the movie
        bytes(16),
        _MATRIX,
        pack(">II", file.width << 16, file.height << 16),
    )
    media_head = pack(">IIIIIHH", 0, 0, 0, scale, duration, _LANGUAGE_UNDETERMINED, 0)
    media = _box(
        b"mdia",
        _box(b"mdhd", media_head),
        _box(b"hdlr", pack(">II4s12x", 0, 0, b"vide"), b"Belfry sandbox\0"),
        _box(
            b"minf",
            _box(b"vmhd", pack(">IQ", 1, 0)),
            _box(b"dinf", _box(b"dref", pack(">II", 0, 1), _box(b"url ", pack(">I", 1)))),
            _sample_table(file, sizes, offset),
        ),
    )
    return _box(b"moov", movie_head, _box(b"trak", track_head, media))


def _sample_table(file: MediaFile, sizes: Sequence[int], offset: int) -> bytes:
    count = len(sizes)
    return _box(
        b"stbl",
        _box(b"stsd", pack(">II", 0, 1), _avc1(file)),
        _box(b"stts", pack(">IIII", 0, 1, count, _TICKS)),
        _box(b"stss", pack(">III", 0, 1, 1)),  # only the first frame can be decoded by itself
        _box(b"stsc", pack(">IIIII", 0, 1, 1, count, 1)),  # all in one chunk
        _box(b"stsz", pack(">III", 0, 0, count), pack(f">{count}I", *sizes)),
        _box(b"stco", pack(">III", 0, 1, offset)),
    )


def _avc1(file: MediaFile) -> bytes:
    sequence = h264.sequence_parameters(file.width, file.height)
    picture = h264.picture_parameters()
    return _box(
        b"avc1",
        pack(">6xH16x", 1),
        pack(">HHIIIH", file.width, file.height, 72 << 16, 72 << 16, 0, 1),
        pack(">32xHh", 24, -1),
        _box(
            b"avcC",
            # Version, profile and level, lengths of four bytes; one SPS, one PPS.
            b"\x01" + sequence[1:4] + b"\xff\xe1",
            pack(">H", len(sequence)),
            sequence,
            b"\x01",
            pack(">H", len(picture)),
            picture,
        ),
    )


def _box(name: bytes, *parts: bytes) -> bytes:
    return pack(">I4s", 8 + sum(map(len, parts)), name) + b"".join(parts)
