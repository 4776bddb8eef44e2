"""A clock that tests advance, so that they wait for nothing."""

from service.runtime.clock import now


class MovableClock:
    """The system clock plus an offset; times are microseconds since 1970, like those of `now`."""

    def __init__(self) -> None:
        self._offset = 0

    def __call__(self) -> int:
        return now() + self._offset

    def advance(self, microseconds: int) -> None:
        self._offset += microseconds
