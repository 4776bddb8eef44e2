"""Multipart forms (RFC 7578): fields of text; files are recognized, and left to the caller.

The body is in memory already and holds no files, so it is split at its delimiters in one pass. The
parsers of `email` and python-multipart are made for streams and files.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec
from starlette.exceptions import HTTPException

from service.domain.primitives.errors import FieldError, Invalid

MAX_PARTS: Final = 200
MAX_PART_HEAD: Final = 1024
"""Bytes of the headers of a part, and characters of the Content-Type of a form."""
_BOUNDARY: Final = re.compile("[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
"""RFC 2046, section 5.1.1."""
_PARAMETER: Final = re.compile(r'; *([A-Za-z]+)\*?=("(?:[^"\\]|\\.)*+"|[^\s;"]++)')
_ESCAPED: Final = re.compile(r"\\(.)")
_IDENTITY: Final = ("", "7bit", "8bit", "binary")


class FormPart(msgspec.Struct, frozen=True):
    """One part of a form; *text* is None if the part is a file."""

    name: str
    text: str | None


def read_parts(body: bytes, content_type: str) -> list[FormPart]:
    """Read a form whose Content-Type header is *content_type*.

    HTTPException 400 if it is malformed; Invalid names the fields that are not in UTF-8.
    """
    parts, errors = [], []
    for segment in _segments(body, content_type):
        disposition, content = _split(segment)
        name = disposition.get("name")
        if name is None:
            raise _malformed('each part needs Content-Disposition: form-data; name="…"')
        try:
            parts.append(FormPart(name, None if "filename" in disposition else content.decode()))
        except UnicodeDecodeError:
            errors.append(FieldError(name, "must be text in UTF-8"))
    if errors:
        raise Invalid(errors)
    return parts


def _segments(body: bytes, content_type: str) -> list[bytes]:
    """Split *body*; each segment begins after the boundary and ends before the next delimiter."""
    boundary = _parameters(content_type[:MAX_PART_HEAD]).get("boundary", "")
    if not _BOUNDARY.fullmatch(boundary):
        raise _malformed("the Content-Type header needs a boundary of 1 to 70 characters")
    delimiter = b"\r\n--" + boundary.encode()
    _, *segments = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if not segments:
        raise _malformed("the boundary of the Content-Type header is not in the body")
    for n, segment in enumerate(segments):
        if segment.startswith(b"--"):
            return segments[:n]
    if len(segments) > MAX_PARTS:
        raise _malformed(f"at most {MAX_PARTS} parts are allowed")
    raise _malformed("the end is missing: CR LF, two dashes, the boundary, two dashes")


def _split(segment: bytes) -> tuple[Mapping[str, str], bytes]:
    """Return the parameters of the part's Content-Disposition header, and its content."""
    segment = segment.lstrip(b" \t")
    if not segment.startswith(b"\r\n"):
        raise _malformed("a delimiter must be a line of its own that ends with CR LF")
    end = segment.find(b"\r\n\r\n", 0, MAX_PART_HEAD + 4)
    if end < 0:
        raise _malformed(f"the head of a part must end within {MAX_PART_HEAD} bytes")
    try:
        lines = segment[2:end].decode().split("\r\n")
    except UnicodeDecodeError:
        raise _malformed("the head of a part must be in UTF-8") from None
    headers = [line.partition(":") for line in lines]
    dispositions = [v.strip() for name, _, v in headers if name.lower() == "content-disposition"]
    encodings = [v for name, _, v in headers if name.lower() == "content-transfer-encoding"]
    if any(encoding.strip().lower() not in _IDENTITY for encoding in encodings):
        raise _malformed("Content-Transfer-Encoding is not supported; send the text as it is")
    if len(dispositions) != 1 or dispositions[0].partition(";")[0].strip().lower() != "form-data":
        return {}, b""
    return _parameters(dispositions[0]), segment[end + 4 :]


def _parameters(header: str) -> dict[str, str]:
    """Read the parameters of a header, by name in lower case; RFC 8187 values stay encoded."""
    found: dict[str, str] = {}
    for name, value in _PARAMETER.findall(header):
        text = _ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value
        found.setdefault(name.lower(), text)
    return found


def _malformed(fault: str) -> HTTPException:
    return HTTPException(400, f"The multipart body is malformed: {fault}.")
