import ast
import re
from collections.abc import Iterator

import pytest

from store.engine import postgres, sqlite
from store.engine.dialect import LOCKS, Dialect, Queries, read_migrations, read_queries
from tests.support.paths import ROOT

STORE = ROOT / "store"
TEXT = (STORE / "queries.sql").read_text("utf-8")
DIALECTS = (sqlite.DIALECT, postgres.DIALECT)
QUERIES = read_queries(sqlite.DIALECT)
RAW = read_queries(Dialect(terms={}, lists={}))
PLACES = {
    "fetch": 0,
    "queue": 0,
    "queue_many": 0,
    "_one": 0,
    "_moment": 0,
    "one": 1,
    "_many": 1,
}
LITERAL = re.compile(r"'[^']*'")
PARAMETER = re.compile(r"(?<![:\w]):(\w+)")


def asked() -> Iterator[str]:
    """Name the queries that the store asks by a constant name."""
    for path in STORE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and str(node.value).startswith(("forget_", "list_")):
                yield str(node.value)  # asked for one after the other, or as the filter is
            match node:
                case ast.Tuple(elts=[ast.Constant(value=str(query)), ast.Dict()]):
                    yield query  # asked together with others
            if isinstance(node, ast.Call) and (name := called(node)) in PLACES:
                match node.args[PLACES[name] : PLACES[name] + 1]:
                    case [ast.Constant(value=str(query))]:
                        yield query


def called(node: ast.Call) -> str:
    match node.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
    return ""


def test_every_query_that_is_asked_is_there_and_every_one_there_is_asked() -> None:
    assert set(asked()) == set(QUERIES)


def test_every_block_is_read_once_and_none_is_swallowed_by_another() -> None:
    names = re.findall(r"^-- (\w+) --$", TEXT, re.MULTILINE)

    assert list(QUERIES) == names
    assert len(set(names)) == len(names)


def test_only_postgres_needs_locks_and_hints() -> None:
    ours, theirs = (Queries(dialect) for dialect in DIALECTS)

    assert [name for name in QUERIES if not ours.needed(name)] == [
        name for name in QUERIES if name in LOCKS or name == "notify"
    ]
    assert all(theirs.needed(name) for name in QUERIES)


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
def test_parameters_are_words_in_lower_case(name: str) -> None:
    parameters = PARAMETER.findall(LITERAL.sub("", QUERIES[name]))

    assert all(re.fullmatch("[a-z][a-z_]*", parameter) for parameter in parameters)
    assert "?" not in QUERIES[name]
    assert "%" not in QUERIES[name]


def test_parameters_and_filters_are_written_as_the_driver_wants_them() -> None:
    ours, theirs = (Queries(dialect) for dialect in DIALECTS)

    assert "AND tag = :tag" in ours.text("list_jobs", "AND tag = :tag")
    assert "AND tag = %(tag)s" in theirs.text("list_jobs", "AND tag = :tag")
    assert "{where}" not in ours.text("list_jobs") + theirs.text("list_jobs")


@pytest.mark.parametrize("name", QUERIES)
def test_only_the_words_of_the_dialect_differ_between_databases(name: str) -> None:
    words = {word.split(":")[0] for word in re.findall(r"\{([^}]*)\}", RAW[name])}

    for dialect in DIALECTS:
        assert words <= {*dialect.terms, *dialect.lists, "where"}
        assert set(re.findall(r"\{([^}]*)\}", read_queries(dialect)[name])) <= {"where"}
    assert "::" not in RAW[name]


@pytest.mark.parametrize("name", [name for name in RAW if name.startswith("list_")])
def test_a_list_has_an_order_a_limit_and_a_place_for_filters(name: str) -> None:
    assert "ORDER BY" in RAW[name]
    assert "LIMIT :limit" in RAW[name]
    assert ":cursor" in RAW[name]


def test_a_dialect_puts_its_words_and_lists_in_place() -> None:
    dialect = Dialect(terms={"lock": "FOR UPDATE"}, lists={"in": r"= ANY(%(\1)s)"})

    assert dialect.translate("WHERE id {in:jobs} {lock}") == "WHERE id = ANY(%(jobs)s) FOR UPDATE"


def test_migrations_are_numbered_from_one_without_a_gap() -> None:
    names = [name for name, _ in read_migrations(sqlite.DIALECT)]

    assert [int(name.split("_")[0]) for name in names] == list(range(1, len(names) + 1))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_migrations_are_read_as_statements_in_the_words_of_the_dialect(dialect: Dialect) -> None:
    statements = [one for _, found in read_migrations(dialect) for one in found]

    assert all(re.match("CREATE|INSERT|ALTER|DROP|UPDATE|DELETE", one) for one in statements)
    assert not any("{" in one or "--" in one for one in statements)
