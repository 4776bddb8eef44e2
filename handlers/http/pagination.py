"""Lists everywhere: `{object: "list", data, next_cursor}`, newest first."""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from service.domain.primitives.errors import FieldError, Invalid
from service.domain.primitives.ids import PATTERN
from service.transactions.store_protocols import Page

T = TypeVar("T")
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]


class PageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """The part of every list's query that says which part of it is wanted."""

    limit: Limit = 50
    cursor: str | None = None

    def page(self) -> Page:
        """One row more than is shown tells whether there is more."""
        if self.cursor is not None and not self.is_cursor(self.cursor):
            raise Invalid([FieldError("?cursor", "must be a next_cursor of this list")])
        return Page(limit=self.limit + 1, cursor=self.cursor)

    def is_cursor(self, text: str) -> bool:
        """Say whether *text* could be the last row of a page of this list."""
        return PATTERN.fullmatch(text) is not None

    def filters(self) -> dict[str, str]:
        """The filters that were given."""
        fields = msgspec.structs.asdict(self)
        return {
            name: str(value)
            for name, value in fields.items()
            if value is not None and name not in PageQuery.__struct_fields__
        }


class ListResponse(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    object: str = "list"
    data: Sequence[T]
    next_cursor: str | None = None


def paginate(views: Sequence[T], limit: int, cursors: Sequence[Any]) -> ListResponse[T]:
    """Show up to *limit* of *views*; the cursor is the one of the last that is shown."""
    more = len(views) > limit
    return ListResponse(
        data=views[:limit], next_cursor=str(cursors[limit - 1]) if more and cursors else None
    )
