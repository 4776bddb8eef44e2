"""The query files, the migrations, and both dialects."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest

from service.domain.primitives.errors import StartError
from store.engine import postgres, sqlite
from store.engine.dialect import (
    LOCKS,
    Dialect,
    Migration,
    Queries,
    Query,
    read_migrations,
    read_queries,
)
from store.engine.migrate import migrate
from tests.support.paths import ROOT

STORE = ROOT / "store"
FILES = sorted((STORE / "queries").glob("*.sql"))
DIALECTS = (sqlite.DIALECT, postgres.DIALECT)
QUERIES = {name: query.text for name, query in read_queries(sqlite.DIALECT).items()}
RAW = {name: query.text for name, query in read_queries(Dialect(terms={}, macros={})).items()}
LITERAL = re.compile(r"'[^']*'")
PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


def strings_and_keywords() -> Iterator[str]:
    """All string constants and keyword names of the store; query names are used as both."""
    for path in STORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.keyword) and node.arg is not None:
                yield node.arg


def test_every_query_is_used() -> None:
    assert set(QUERIES) - set(strings_and_keywords()) == set()


def test_every_block_of_a_query_file_is_read_once() -> None:
    names = [
        name
        for file in FILES
        for name in re.findall(r"^-- (\w+) --$", file.read_text("utf-8"), re.MULTILINE)
    ]

    assert list(QUERIES) == names
    assert len(set(names)) == len(names)


def test_only_postgres_needs_locks_and_notifications() -> None:
    on_sqlite, on_postgres = (Queries(dialect) for dialect in DIALECTS)

    assert {name for name in QUERIES if on_sqlite.is_noop(name)} == {*LOCKS, "notify"}
    assert not any(on_postgres.is_noop(name) for name in QUERIES)


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_one_statement_without_its_comment(name: str) -> None:
    sql = LITERAL.sub("", QUERIES[name])

    assert sql
    assert ";" not in sql
    assert "--" not in sql


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_names_the_columns_it_reads(name: str) -> None:
    assert not re.search(r"SELECT\s+(\w+\.)?\*|RETURNING\s+\*", QUERIES[name], re.IGNORECASE)


@pytest.mark.parametrize("name", QUERIES)
def test_parameter_names_are_lower_case(name: str) -> None:
    parameters = PARAMETER.findall(LITERAL.sub("", QUERIES[name]))

    assert all(re.fullmatch("[a-z][a-z_]*", parameter) for parameter in parameters)
    assert "%" not in QUERIES[name]


def test_an_optional_line_is_left_out_unless_its_parameter_is_given() -> None:
    on_sqlite, on_postgres = (Queries(dialect) for dialect in DIALECTS)
    values = {"tenant": "acme", "status": "failed"}

    assert "AND status = :status" in on_sqlite.text("list_jobs", values)
    assert "AND status = %(status)s" in on_postgres.text("list_jobs", values)
    assert "provider" not in on_sqlite.text("list_jobs", values)
    assert "{" not in on_sqlite.text("list_jobs", {}) + on_postgres.text("list_jobs", values)


def test_optional_lines_keep_their_position() -> None:
    query = Query("A\n  {?b}AND b = :b\n  {?c}AND c = :c\nD", frozenset({"b", "c"}))

    assert query.given(frozenset()) == "A\nD"
    assert query.given(frozenset({"c"})) == "A\nAND c = :c\nD"


@pytest.mark.parametrize("name", QUERIES)
def test_only_terms_and_macros_differ_between_databases(name: str) -> None:
    terms = {term.split(":")[0] for term in re.findall(r"\{([^}?]*)\}", RAW[name])}

    for dialect in DIALECTS:
        assert terms <= {*dialect.terms, *dialect.macros}
        assert not re.findall(r"\{[^}?]*\}", read_queries(dialect)[name].text)
    assert "::" not in RAW[name]


@pytest.mark.parametrize("name", [name for name in RAW if name.startswith("list_")])
def test_a_list_has_an_order_a_limit_and_a_cursor(name: str) -> None:
    assert "ORDER BY" in RAW[name]
    assert "LIMIT :limit" in RAW[name]
    assert ":cursor" in RAW[name]


def test_a_dialect_replaces_terms_and_macros() -> None:
    dialect = Dialect(terms={"lock": "FOR UPDATE"}, macros={"in": r"= ANY(%(\1)s)"})

    assert dialect.translate("WHERE id {in:jobs} {lock}") == "WHERE id = ANY(%(jobs)s) FOR UPDATE"


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    names = [migration.name for migration in read_migrations(sqlite.DIALECT)]

    assert [int(name.split("_")[0]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrations_are_read_as_statements_of_the_dialect(dialect: Dialect) -> None:
    statements = [one for migration in read_migrations(dialect) for one in migration.statements]

    assert all(re.match("CREATE|INSERT|ALTER|DROP|UPDATE|DELETE", one) for one in statements)
    assert not any("{" in one or "--" in one for one in statements)


class Recorder:
    """A database that records statements and has *applied* these migrations."""

    def __init__(self, *applied: str) -> None:
        self.applied, self.statements = list(applied), list[str]()

    async def execute(self, statement: str) -> list[dict[str, Any]]:
        self.statements.append(statement)
        return [{"name": name} for name in self.applied] if "SELECT" in statement else []


MIGRATIONS = [Migration("0001_a.sql", ["A1", "A2"]), Migration("0002_b.sql", ["B1"])]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("applied", "expected"),
    [
        ((), ["A1", "A2", "0001_a.sql", "B1", "0002_b.sql"]),
        (("0001_a.sql",), ["B1", "0002_b.sql"]),
        (("0001_a.sql", "0002_b.sql"), []),
    ],
)
async def test_missing_migrations_are_applied_in_order(
    applied: tuple[str, ...], expected: list[str]
) -> None:
    database = Recorder(*applied)

    await migrate(database.execute, MIGRATIONS)

    executed = [re.sub(r"INSERT .*'(.*)'\)", r"\1", one) for one in database.statements[2:]]
    assert executed == expected


@pytest.mark.anyio
async def test_a_database_with_unknown_migrations_is_rejected_unchanged() -> None:
    database = Recorder("0001_a.sql", "0003_c.sql")

    with pytest.raises(StartError, match=r"another version of Belfry.* 0003_c.sql"):
        await migrate(database.execute, MIGRATIONS)

    assert database.statements[2:] == []
