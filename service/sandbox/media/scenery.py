"""Draws a landscape: a gradient sky with clouds, the sun, and layers of hills."""

import colorsys
import math
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from service.sandbox.media.files import MediaFile, Tint

Rgb = tuple[int, int, int]
Disc = tuple[float, float, float, float, bytes]
"""Centre x and y, radius along x and y, all in pixels; and the column of colours it shows."""

_SKY_COLOURS: Final = 112
_HALO_SHIFT: Final = 14
_SUN: Final = _SKY_COLOURS
_CLOUD: Final = _SKY_COLOURS + 1
_HILLS: Final = _SKY_COLOURS + 2
_LAYERS: Final = 4
_LAYER_COLOURS: Final = (256 - _HILLS) // _LAYERS
_PALETTE_SIZE: Final = _HILLS + _LAYERS * _LAYER_COLOURS


class Scenery:
    """The landscape of one file, as a picture of palette indices.

    *width* and *height* are in pixels and need not be those of the file.
    """

    def __init__(self, file: MediaFile, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.palette = _palette(file)
        self._dials = _dials(file.shapes, file.index)
        self._sky = _gradient(0, _SKY_COLOURS, height, 0.75)
        self._ridges = [self._ridge(layer) for layer in range(_LAYERS)]
        self._slopes = [
            _gradient(_HILLS + layer * _LAYER_COLOURS, _LAYER_COLOURS, height, 1.0)
            for layer in range(_LAYERS)
        ]

    def draw(self, pose: float = 0.5) -> bytes:
        """Return the palette index of each pixel, row by row; the sun rises as *pose* goes 0…1."""
        discs = [*self._sun(pose), *self._clouds()]
        columns = b"".join(self._column(x, discs) for x in range(self.width))
        return b"".join(columns[y :: self.height] for y in range(self.height))

    def _column(self, x: int, discs: Sequence[Disc]) -> bytes:
        column = bytearray(self._sky)
        for centre_x, centre_y, radius_x, radius_y, colours in discs:
            across = (x - centre_x) / radius_x
            if abs(across) < 1:
                half = radius_y * math.sqrt(1 - across * across)
                top = max(0, round(centre_y - half))
                bottom = max(top, round(centre_y + half))
                column[top:bottom] = colours[top:bottom]
        for ridge, slope in zip(self._ridges, self._slopes, strict=True):
            top = ridge[x]
            column[top:] = slope[top:]
        return bytes(column)

    def _ridge(self, layer: int) -> list[int]:
        """Return for each column the row at which the hills of *layer* begin; 0 is the farthest."""
        dials = self._dials[8 + layer * 6 :]
        base = 0.56 + 0.13 * layer
        swing = 0.1 - 0.012 * layer
        waves = [
            (math.tau * (n + dials[n]) / self.width, math.tau * dials[3 + n], swing / (n + 1))
            for n in range(3)
        ]
        heights = (
            base - sum(high * math.sin(x * step + phase) for step, phase, high in waves)
            for x in range(self.width)
        )
        return [round(self.height * height) for height in heights]

    def _sun(self, pose: float) -> list[Disc]:
        radius = min(self.width, self.height) * (0.07 + 0.05 * self._dials[0])
        x = self.width * (0.2 + 0.55 * self._dials[1] + 0.06 * pose)
        y = self.height * (0.5 - (0.15 + 0.15 * self._dials[2]) * pose)
        halo = bytes(min(_SKY_COLOURS - 1, index + _HALO_SHIFT) for index in self._sky)
        sun = bytes([_SUN]) * self.height
        return [(x, y, 1.6 * radius, 1.6 * radius, halo), (x, y, radius, radius, sun)]

    def _clouds(self) -> list[Disc]:
        cloud = bytes([_CLOUD]) * self.height
        discs: list[Disc] = []
        for n in range(2):
            x, y, size = self._dials[3 + n : 6 + n]
            x, y = self.width * (0.1 + 0.8 * x), self.height * (0.08 + 0.18 * y)
            radius = self.width * (0.05 + 0.04 * size)
            discs.append((x, y, radius, radius * 0.22, cloud))
            discs.append((x + radius * 0.8, y + radius * 0.16, radius * 0.9, radius * 0.16, cloud))
        return discs


def _dials(seed: bytes, index: int) -> list[float]:
    """Derive 32 numbers from 0 to 1."""
    return [byte / 255 for byte in blake2b(seed + bytes([index]), digest_size=32).digest()]


def _gradient(first: int, count: int, height: int, end: float) -> bytes:
    """Spread *count* palette indices from *first* over the upper part *end* of a column."""
    return bytes(first + min(count - 1, int(y * count / (height * end))) for y in range(height))


def _palette(file: MediaFile) -> list[Rgb]:
    dials = _dials(file.colours, file.index)
    hue = dials[0]
    glow = (0.02 + 0.12 * dials[1]) % 1  # red to yellow
    zenith = _hsv(0.5 + 0.3 * hue, 0.45 + 0.3 * dials[2], 0.45 + 0.35 * dials[3])
    horizon = _hsv(glow, 0.3 + 0.25 * dials[4], 0.99)
    sun = _hsv(glow + 0.02, 0.12, 1.0)
    ground = _hsv(hue, 0.35 + 0.3 * dials[5], 0.12 + 0.1 * dials[6])
    colours = [_mix(zenith, horizon, n / (_SKY_COLOURS - 1)) for n in range(_SKY_COLOURS)]
    colours += [sun, _mix(horizon, (255, 255, 255), 0.55)]
    for layer in range(_LAYERS):
        crest = _mix(horizon, ground, 0.35 + 0.2 * layer)
        foot = _mix(crest, ground, 0.6)
        colours += [_mix(crest, foot, n / (_LAYER_COLOURS - 1)) for n in range(_LAYER_COLOURS)]
    return [_tinted(colour, file.tint) for colour in colours]


def _hsv(hue: float, saturation: float, value: float) -> Rgb:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _mix(one: Rgb, other: Rgb, part: float) -> Rgb:
    red, green, blue = (
        round(a + (b - a) * max(0.0, min(1.0, part))) for a, b in zip(one, other, strict=True)
    )
    return red, green, blue


def _tinted(colour: Rgb, tint: Tint) -> Rgb:
    if tint is Tint.NONE:
        return colour
    red, green, blue = colour
    grey = round(0.299 * red + 0.587 * green + 0.114 * blue)
    if tint is Tint.SEPIA:
        return _mix((50, 25, 0), (255, 240, 200), grey / 255)
    return grey, grey, grey
