"""A clock that tests advance, so that they wait for nothing."""

from service.runtime.clock import now


class MovableClock:
    """The system clock plus an offset; times are microseconds since 1970, like those of `now`."""

    def __init__(self) -> None:
        self._offset = 0
        self._stopped_at: int | None = None

    def __call__(self) -> int:
        return (self._stopped_at or now()) + self._offset

    def stop(self) -> None:
        """Return the same time from now on, so that nothing becomes due by itself."""
        self._stopped_at = now()

    def advance(self, microseconds: int) -> None:
        self._offset += microseconds
