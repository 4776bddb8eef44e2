"""The body of an upload: the file between two texts, raw or in base64, however it is cut."""

import random
from base64 import b64encode
from collections.abc import AsyncIterator

import pytest

from service.providers.assets.protocol import UploadCall
from service.runtime.clients.upload_body import UploadBody

pytestmark = pytest.mark.anyio
RAW = UploadCall(path="", media_type="image/png")
BASE64 = UploadCall(path="", media_type="x", before=b'["', after=b'"]', in_base64=True)


async def parts(file: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    for start, end in zip([0, *cuts], [*cuts, len(file)], strict=True):
        yield file[start:end]


async def body_of(call: UploadCall, file: bytes, cuts: list[int]) -> bytes:
    body = UploadBody(call, parts(file, cuts))
    sent = b"".join([part async for part in body])
    assert (body.complete, body.length(len(file))) == (True, len(sent))
    return sent


async def test_a_raw_file_is_sent_as_it_is() -> None:
    assert await body_of(RAW, b"hello", [1, 1, 4]) == b"hello"
    assert await body_of(RAW, b"", []) == b""


async def test_base64_does_not_depend_on_how_the_file_is_cut() -> None:
    choose = random.Random(1)  # noqa: S311 - not for secrets

    for length in range(40):
        file = choose.randbytes(length)
        cuts = sorted(choose.choices(range(length + 1), k=choose.randrange(6)))
        assert await body_of(BASE64, file, cuts) == b'["' + b64encode(file) + b'"]'


async def test_a_body_of_unknown_length_says_so() -> None:
    assert UploadBody(RAW, parts(b"", [])).length(None) is None


class Broken(Exception):
    """An error of a file."""


async def test_an_error_of_the_file_is_kept_and_the_body_is_not_complete() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"abcd"
        raise Broken

    body = UploadBody(BASE64, broken())
    sent = aiter(body)
    begun = [await anext(sent), await anext(sent)]

    with pytest.raises(Broken):
        await anext(sent)

    assert (begun, body.complete) == ([b'["', b"YWJj"], False)
    assert isinstance(body.error, Broken)
