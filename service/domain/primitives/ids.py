"""Ids: a prefix (`job_`, `evt_`, …) and a UUIDv7 in 26 base32 characters; they sort by time."""

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o or u
PATTERN: Final = re.compile(r"[a-z]{2,4}_[0-7][0-9a-hjkmnp-tv-z]{25}")
RANDOM_BITS: Final = 62
_SEQ_DIGITS: Final = 18
_PAIRS: Final = tuple(a + b for a in ALPHABET for b in ALPHABET)
"""Two characters for each value of ten bits."""
_SHIFTS: Final = tuple(range(120, -1, -10))
IdFactory = Callable[[str, int], str]
"""Makes an id from a prefix and the current time in microseconds."""


def new_id(prefix: str, at: int, random_bits: int) -> str:
    """Make an id from *at* (microseconds) and 62 *random_bits* (RFC 9562, section 5.7).

    The twelve bits after the version hold the microseconds, so that ids made within one millisecond
    sort too.
    """
    millis, micros = divmod(at, 1000)
    value = (millis << 80) | (7 << 76) | ((micros << 12) // 1000 << 64) | (2 << 62) | random_bits
    return f"{prefix}_{''.join([_PAIRS[value >> shift & 1023] for shift in _SHIFTS])}"


def created_at_of(identifier: str) -> int:
    """Read the time at which an id was made, in microseconds, exact to the millisecond."""
    value = 0
    for letter in identifier.partition("_")[2]:
        value = value << 5 | ALPHABET.index(letter)
    return (value >> 80) * 1000


def new_ref(random_bits: int) -> str:
    """Make a job's ref from 128 random bits: a UUIDv4, as Runware requires of a taskUUID."""
    return str(UUID(int=random_bits, version=4))


def is_seq(text: str) -> bool:
    """Whether *text* is a non-negative integer that fits the `seq` column of events."""
    return text.isascii() and text.isdigit() and len(text) <= _SEQ_DIGITS


def is_id(text: str, prefix: str) -> bool:
    return text.startswith(prefix + "_") and PATTERN.fullmatch(text) is not None
