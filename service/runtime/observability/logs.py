"""Logs: one JSON line for each log event, with one write to the file per turn of the event loop."""

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any, BinaryIO, Final, cast

import msgspec
import structlog

from service.domain.primitives.timestamps import rfc3339

_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class BufferedLogFile:
    """Flushes *file* once per turn of the event loop, however many lines are written in it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.write = file, file.write
        self._scheduled_on: asyncio.AbstractEventLoop | None = None

    def flush(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._file.flush()
            return
        if self._scheduled_on is not loop:
            self._scheduled_on = loop
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled_on = None
        with contextlib.suppress(OSError):  # a closed pipe: the error cannot be logged either
            self._file.flush()


def configure(level: int = logging.INFO, file: BinaryIO | None = None) -> None:
    """Write our log lines and the warnings of libraries as JSON to *file* or standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _stamp,
            structlog.processors.format_exc_info,
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.BytesLoggerFactory(
            cast("BinaryIO", BufferedLogFile(file or sys.stdout.buffer))
        ),
        cache_logger_on_first_use=True,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_not_logged_by_us)
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)


def _stamp(_: object, level: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    line["timestamp"] = rfc3339(time.time_ns() // 1000)
    line["level"] = level
    return line


def _render(_: object, __: str, line: MutableMapping[str, Any]) -> bytes:
    return _encode({"at": line.pop("timestamp"), "event": line.pop("event"), **line})


def _is_not_logged_by_us(record: logging.LogRecord) -> bool:
    """Drop uvicorn's line for an unhandled exception: `request.failed` reports it already."""
    return not record.getMessage().startswith("Exception in ASGI application")


class _LibraryHandler(logging.Handler):
    """Copies the log records of libraries to our log; none of them has a URL with its query."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno,
            "library.logged",
            logger=record.name,
            message=record.getMessage(),
            exc_info=record.exc_info,
        )
