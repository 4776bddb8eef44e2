"""tests/payloads/README.md is true: its tests exist, its facts are shown, its payloads are used."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Final

from tests.support.paths import PAYLOADS, ROOT

README: Final = (PAYLOADS / "README.md").read_text("utf-8")
HEADER: Final = ("fact", "shown by")
SHOWN_BY: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
MIN_REASON_WORDS: Final = 4
TEST_FILES: Final = tuple(sorted((ROOT / "tests").rglob("test_*.py")))


def tables() -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of each table of facts by its heading, without the header."""
    found: dict[str, list[tuple[str, ...]]] = {}
    heading = ""
    for line in README.splitlines():
        if line.startswith("#"):
            heading = line.strip("# ")
        elif line.startswith("|"):
            cells = tuple(cell.strip() for cell in line.strip("|").split("|"))
            found.setdefault(heading, []).append(cells)
    return {heading: rows[2:] for heading, rows in found.items() if rows[0] == HEADER}


TABLES: Final = tables()
ROWS: Final = [(heading, *row) for heading, rows in TABLES.items() for row in rows]


@cache
def functions_in(path: Path) -> frozenset[str]:
    """Name the functions of a file; none if it does not exist."""
    if not path.is_file():
        return frozenset()
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def words_in(tree: ast.AST) -> set[str]:
    """Return the texts and the whole numbers in a test file."""
    constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return {str(value) for value in constants if isinstance(value, str | int)}


def templates_in(tree: ast.AST) -> list[re.Pattern[str]]:
    """Return a pattern for each f-string of a test file, with a group for each of its values."""
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr))
    return [
        re.compile(
            "".join(
                re.escape(str(part.value)) if isinstance(part, ast.Constant) else "(.+)"
                for part in string.values
            )
        )
        for string in strings
    ]


@cache
def strings_of(path: Path) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(words_in(tree)), tuple(templates_in(tree))


def names(path: Path, folder: str, stem: str) -> bool:
    """Whether the test file at *path* has the name of a payload, whole or put together."""
    words, templates = strings_of(path)
    if not any(word == folder or word.startswith(f"{folder}/") for word in words):
        return False
    forms = {stem, f"{stem}.json", f"{folder}/{stem}", f"{folder}/{stem}.json"}
    if forms & words:
        return True
    matches = (template.fullmatch(form) for template in templates for form in forms)
    return any(match and words.issuperset(match.groups()) for match in matches)


def test_there_is_a_table_for_each_document() -> None:
    assert len(TABLES) == 4
    assert sum(len(rows) for rows in TABLES.values()) >= 185


def test_every_row_has_a_fact_and_a_way_it_is_shown() -> None:
    assert [row for row in ROWS if len(row) != 3 or not all(row)] == []


def test_every_test_of_a_fact_exists() -> None:
    missing = [
        f"{file}::{test}"
        for _, _, shown_by in ROWS
        for file, test in SHOWN_BY.findall(shown_by)
        if test not in functions_in(ROOT / file)
    ]

    assert missing == []


def test_a_fact_without_a_test_has_a_reason() -> None:
    unshown = [
        fact
        for _, fact, shown_by in ROWS
        if not SHOWN_BY.search(shown_by) and len(shown_by.split()) < MIN_REASON_WORDS
    ]
    misspelled = [fact for _, fact, shown_by in ROWS if "tests/" in SHOWN_BY.sub("", shown_by)]

    assert (unshown, misspelled) == ([], [])


def test_a_fact_is_listed_once_for_its_document() -> None:
    counts = Counter(row[:2] for row in ROWS)

    assert [row for row, count in counts.items() if count > 1] == []


def test_every_payload_is_named_in_a_test() -> None:
    payloads = sorted(PAYLOADS.rglob("*.json"))
    unused = [
        f"{path.parent.name}/{path.name}"
        for path in payloads
        if not any(names(file, path.parent.name, path.stem) for file in TEST_FILES)
    ]

    assert payloads
    assert unused == []


def test_every_folder_of_payloads_is_described() -> None:
    folders = {path.name for path in PAYLOADS.iterdir() if path.is_dir()}

    assert {name for name in folders if f"| `{name}` |" not in README} == set()
