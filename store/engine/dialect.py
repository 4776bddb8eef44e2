"""The words in which the two databases differ, and the files of SQL read with them."""

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec

from service.domain.deliveries.delivery import HELD

_BLOCK: Final = re.compile(r"^-- (\w+) --\n(?:--.*\n)+", re.MULTILINE)
LOCKS: Final = (
    *("lock_jobs", "lock_log", "lock_claims", "lock_lanes"),
    *("lock_subscriptions", "share_subscriptions"),
)
"""Queries that only hold off other processes."""
SHARED_TERMS: Final = {
    "held": str(HELD),
    "revision": "(SELECT value FROM revisions WHERE name = 'subscriptions')",
}
"""What both say alike. A partial index is taken only where its own words are in the query."""
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")
_LIST: Final = re.compile(r"\{(\w+):(\w+)\}")
_COMMENT: Final = re.compile("--.*")


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """*words* replace `{word}`, *lists* `{word:parameter}`, *parameter* each `:parameter`.

    *unneeded* are the queries, all of them locks and hints, that this database does without.
    """

    terms: Mapping[str, str]
    lists: Mapping[str, str]
    parameter: str = r":\1"
    noop_queries: frozenset[str] = frozenset()

    def translate(self, text: str) -> str:
        for word, sql in self.terms.items():
            text = text.replace("{" + word + "}", sql)
        text = _LIST.sub(lambda use: self.lists.get(use[1], use[0]).replace(r"\1", use[2]), text)
        return _PARAMETER.sub(self.parameter, text)


class Queries:
    """The statements of `queries.sql` in the words of one database, by name."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._texts = read_queries(dialect)
        self._filtered = cache(self._fill)

    def needed(self, name: str) -> bool:
        return name not in self._dialect.noop_queries

    def text(self, name: str, where: str = "") -> str:
        """The statement *name*, its `{where}` filled with *where*."""
        return self._filtered(name, where) if where else self._texts[name].replace("{where}", "")

    def _fill(self, name: str, where: str) -> str:
        return self._texts[name].replace("{where}", self._dialect.translate(where))


def read_queries(dialect: Dialect) -> dict[str, str]:
    """Read `queries.sql` into statements by name, in the words of *dialect*."""
    parts = _BLOCK.split(files("store").joinpath("queries.sql").read_text("utf-8"))
    names, texts = parts[1::2], parts[2::2]
    return {name: dialect.translate(text).strip() for name, text in zip(names, texts, strict=True)}


def read_migrations(dialect: Dialect) -> list[tuple[str, list[str]]]:
    """Read the numbered migrations, each as a list of statements, in their order."""
    folder = files("store").joinpath("migrations")
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [(f.name, _statements(dialect.translate(f.read_text("utf-8")))) for f in found]


def _statements(text: str) -> list[str]:
    bare = _COMMENT.sub("", text)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]
