"""The SQL in which the two databases differ, and the query files written with it."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

import msgspec

_BLOCK: Final = re.compile(r"^-- (\w+) --\n(?:--.*\n)+", re.MULTILINE)
_PARAMETER: Final = re.compile(r"(?<![:\w]):(\w+)")
_MACRO: Final = re.compile(r"\{(\w+):(\w+)\}")
_OPTIONAL: Final = re.compile(r"^ *\{\?(\w+)\}", re.MULTILINE)
_COMMENT: Final = re.compile("--.*")
LOCKS: Final = (
    "lock_jobs",
    "lock_event_log",
    "lock_accounts",
    "lock_moderation",
    "lock_receiver_leases",
    "lock_subscriptions",
    "share_subscriptions",
)
"""Queries whose only effect is to block other processes."""
SHARED_TERMS: Final = {
    "subscriptions_version": "(SELECT value FROM versions WHERE name = 'subscriptions')",
}


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How one database writes the SQL of `queries/` and `migrations/`.

    `{term}` becomes `terms[term]`; `{macro:argument}` becomes `macros[macro]`, in which `\\1` is
    the argument; `:parameter` becomes *parameter*. *noop_queries* are not needed on this database.
    """

    terms: Mapping[str, str]
    macros: Mapping[str, str]
    parameter: str = r":\1"
    noop_queries: frozenset[str] = frozenset()

    def translate(self, text: str) -> str:
        for term, sql in self.terms.items():
            text = text.replace("{" + term + "}", sql)
        text = _MACRO.sub(lambda use: self.macros.get(use[1], use[0]).replace(r"\1", use[2]), text)
        return _PARAMETER.sub(self.parameter, text)


class Query(NamedTuple):
    """A statement whose lines that begin with `{?name}` count only if the value *name* is given."""

    text: str
    optional: frozenset[str]

    def given(self, names: frozenset[str]) -> str:
        """The statement with the optional lines of *names*."""
        lines = []
        for line in self.text.split("\n"):
            condition = _OPTIONAL.match(line)
            if condition is None:
                lines.append(line)
            elif condition[1] in names:
                lines.append(line[condition.end() :])
        return "\n".join(lines)


class Queries:
    """The statements of `queries/*.sql` in one dialect, by name."""

    def __init__(self, dialect: Dialect) -> None:
        self._noop = dialect.noop_queries
        self._queries = read_queries(dialect)
        self._given = cache(self._given_lines)

    def is_noop(self, name: str) -> bool:
        return name in self._noop

    def text(self, name: str, values: Mapping[str, object]) -> str:
        """The statement *name* for these *values*."""
        query = self._queries[name]
        if not query.optional:
            return query.text
        return self._given(name, query.optional.intersection(values))

    def _given_lines(self, name: str, names: frozenset[str]) -> str:
        return self._queries[name].given(names)


def read_queries(dialect: Dialect) -> dict[str, Query]:
    """Read all query files; a block is `-- name --`, comment lines, and one statement."""
    queries: dict[str, Query] = {}
    for file in sorted(files("store").joinpath("queries").iterdir(), key=lambda file: file.name):
        parts = _BLOCK.split(file.read_text("utf-8"))
        for name, text in zip(parts[1::2], parts[2::2], strict=True):
            statement = dialect.translate(text).strip()
            queries[name] = Query(statement, frozenset(_OPTIONAL.findall(statement)))
    return queries


class Migration(NamedTuple):
    """One file of `migrations/`, as statements."""

    name: str
    statements: Sequence[str]


def read_migrations(dialect: Dialect) -> list[Migration]:
    """Read the numbered migrations in their order."""
    folder = files("store").joinpath("migrations")
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    return [Migration(f.name, _statements(dialect.translate(f.read_text("utf-8")))) for f in found]


def _statements(text: str) -> list[str]:
    bare = _COMMENT.sub("", text)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]
