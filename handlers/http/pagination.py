"""Pagination of all lists: `{object: "list", data, next_cursor}`, newest first."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.ids import PATTERN
from service.transactions.store_protocols import Page

T = TypeVar("T")
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The query parameters of every list; subclasses add filters."""

    limit: Limit = 50
    cursor: str | None = None

    def page(self) -> Page:
        """Return the page to read: one row more than *limit*, which tells if there is another page.

        Raises Invalid if the cursor cannot be one of this list.
        """
        if self.cursor is not None and not self.is_cursor(self.cursor):
            raise Invalid([FieldError("?cursor", "must be a next_cursor of this list")])
        return Page(limit=self.limit + 1, cursor=self.cursor)

    def is_cursor(self, text: str) -> bool:
        """Return whether *text* has the format of this list's cursors."""
        return PATTERN.fullmatch(text) is not None

    def filters(self) -> dict[str, str]:
        """Return the filters that the request gives, by parameter name."""
        fields = msgspec.structs.asdict(self)
        return {
            name: str(value)
            for name, value in fields.items()
            if value is not None and name not in PageQuery.__struct_fields__
        }


class ListResponse(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list. *next_cursor* is the `cursor` of the next page; null on the last page."""

    object: str = "list"
    data: Sequence[T]
    next_cursor: str | None = None


def paginate(views: Sequence[T], limit: int, cursors: Sequence[Any]) -> ListResponse[T]:
    """Return the first *limit* of *views*; *cursors* has the cursor of each view.

    The page has a next cursor, that of its last view, if there are more views than *limit*.
    """
    more = len(views) > limit
    return ListResponse(
        data=views[:limit], next_cursor=str(cursors[limit - 1]) if more and cursors else None
    )
