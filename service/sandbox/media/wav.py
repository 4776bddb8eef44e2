"""WAV files with a melody of plucked tones."""

import math
from array import array
from hashlib import blake2b
from struct import pack
from typing import Final

from service.sandbox.media.files import MediaFile

_SAMPLE_RATE: Final = 8000
_NOTES: Final = 8
_NOTE_SAMPLES: Final = _SAMPLE_RATE // 4
_PENTATONIC: Final = (0, 2, 4, 7, 9, 12)
"""Semitones above the key note; any order of them sounds pleasant."""
_LOUDNESS: Final = 9000


def encode(file: MediaFile) -> bytes:
    """Return two seconds of melody, repeated for as long as *file* lasts, as 16 bit mono."""
    digest = blake2b(file.shapes + bytes([file.index]), digest_size=_NOTES + 1).digest()
    key = 220 * 2 ** (digest[-1] % 12 / 12)
    melody = array("h")
    for byte in digest[:_NOTES]:
        melody.extend(_note(key * 2 ** (_PENTATONIC[byte % len(_PENTATONIC)] / 12)))
    count = _SAMPLE_RATE * file.milliseconds // 1000
    samples = (melody * (count // len(melody) + 1))[:count]
    data = pack(f"<{count}h", *samples)
    layout = pack("<HHIIHH", 1, 1, _SAMPLE_RATE, 2 * _SAMPLE_RATE, 2, 16)
    chunks = b"fmt " + pack("<I", len(layout)) + layout + b"data" + pack("<I", len(data)) + data
    return b"RIFF" + pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _note(frequency: float) -> list[int]:
    """Return a tone of *frequency* Hz with an overtone, which fades out."""
    step = math.tau * frequency / _SAMPLE_RATE
    return [
        round(
            _LOUDNESS
            * min(1.0, n / 80)  # 10 ms of attack, so that the tone does not start with a click
            * (1 - n / _NOTE_SAMPLES) ** 2
            * (math.sin(step * n) + 0.3 * math.sin(2 * step * n))
        )
        for n in range(_NOTE_SAMPLES)
    ]
