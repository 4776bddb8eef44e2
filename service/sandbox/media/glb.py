"""glTF 2.0 binary files with a faceted gem in one colour."""

import colorsys
import math
from hashlib import blake2b
from struct import pack
from typing import Final

import msgspec

from service.sandbox.media.files import MediaFile

Point = tuple[float, float, float]

_FLOAT: Final = 5126
_ARRAY_BUFFER: Final = 34962
_JSON_CHUNK: Final = 0x4E4F534A
_BINARY_CHUNK: Final = 0x004E4942


def encode(file: MediaFile) -> bytes:
    """Return a gem whose number of sides, height and colour depend on the seed of *file*."""
    digest = blake2b(file.shapes + bytes([file.index]), digest_size=3).digest()
    triangles = _gem(5 + digest[0] % 6, 0.6 + digest[1] / 255)
    points = [point for triangle in triangles for point in triangle]
    normals = [_normal(*triangle) for triangle in triangles for _ in range(3)]
    binary = b"".join(pack("<3f", *vector) for vector in (*points, *normals))
    colour = colorsys.hsv_to_rgb(digest[2] / 255, 0.6, 0.9)
    text = msgspec.json.encode(_document(points, len(binary), colour))
    text += b" " * (-len(text) % 4)
    chunks = pack("<II", len(text), _JSON_CHUNK) + text
    chunks += pack("<II", len(binary), _BINARY_CHUNK) + binary
    return pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _document(points: list[Point], size: int, colour: Point) -> dict[str, object]:
    count, half = len(points), size // 2
    vectors = {"componentType": _FLOAT, "count": count, "type": "VEC3"}
    ends = {
        name: [choose(axis) for axis in zip(*points, strict=True)]
        for name, choose in (("min", min), ("max", max))
    }
    shine = {"baseColorFactor": [*colour, 1], "metallicFactor": 0.1, "roughnessFactor": 0.4}
    return {
        "asset": {"version": "2.0", "generator": "Belfry sandbox"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "materials": [{"pbrMetallicRoughness": shine}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1}, "material": 0}]}],
        "buffers": [{"byteLength": size}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": start, "byteLength": half, "target": _ARRAY_BUFFER}
            for start in (0, half)
        ],
        "accessors": [{"bufferView": 0, **vectors, **ends}, {"bufferView": 1, **vectors}],
    }


def _gem(sides: int, height: float) -> list[tuple[Point, Point, Point]]:
    """Return the triangles of two pyramids, base to base, counterclockwise from outside."""
    angles = [math.tau * n / sides for n in range(sides)]
    # Single precision, as in the file, so that the stated limits are exact.
    rim = [_single(math.cos(angle), 0.0, -math.sin(angle)) for angle in angles]
    top, bottom = _single(0.0, height, 0.0), _single(0.0, -height, 0.0)
    edges = list(zip(rim, rim[1:] + rim[:1], strict=True))
    return [(a, b, top) for a, b in edges] + [(b, a, bottom) for a, b in edges]


def _single(*point: float) -> Point:
    x, y, z = memoryview(pack("3f", *point)).cast("f")
    return x, y, z


def _normal(a: Point, b: Point, c: Point) -> Point:
    u, v = (tuple(p - q for p, q in zip(end, a, strict=True)) for end in (b, c))
    normal = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    length = math.hypot(*normal)
    return normal[0] / length, normal[1] / length, normal[2] / length
