"""The body of an upload, made from a file while the file is being read."""

from base64 import b64encode
from collections.abc import AsyncIterator

from service.providers.assets.protocol import UploadCall


class UploadBody:
    """Yields the body of *call* with the parts of *file*, and keeps none of them.

    *complete*: the last part has been taken, so the provider may have the whole file. *error* is
    what *file* raised.
    """

    def __init__(self, call: UploadCall, file: AsyncIterator[bytes]) -> None:
        self._call, self._file = call, file
        self.complete = False
        self.error: Exception | None = None

    def length(self, size: int | None) -> int | None:
        """Count the bytes of the body of a file of *size* bytes."""
        if size is None:
            return None
        encoded = 4 * ((size + 2) // 3) if self._call.in_base64 else size
        return len(self._call.before) + encoded + len(self._call.after)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._call.before:
            yield self._call.before
        rest = b""
        async for chunk in self._parts():
            if not self._call.in_base64:
                yield chunk
                continue
            whole = rest + chunk
            end = len(whole) - len(whole) % 3
            rest = whole[end:]
            if end:
                yield b64encode(whole[:end])
        last = b64encode(rest) + self._call.after
        self.complete = True
        if last:
            yield last

    async def _parts(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._file:
                yield chunk
        except Exception as exc:
            self.error = exc
            raise
