"""Which folder may import which: the arrows of docs/architecture.md, read from the code."""

import ast
from pathlib import Path
from typing import Final

import pytest

from tests.support.paths import ROOT

PACKAGES: Final = ("service", "handlers", "store")
FILES: Final = sorted(
    path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
LAYERS: Final = (
    "service/__main__.py",
    "service/cli",
    "service/app.py",
    "handlers",
    "service/context.py",
    "service/workers",
    "service/transactions",
    "service/runtime",
    "service/providers",
    "service/domain",
)
"""Each may import those below it, and none above it."""
DOMAIN: Final = (
    "service/domain/deliveries",
    "service/domain/subscriptions",
    "service/domain/callbacks.py",
    "service/domain/events.py",
    "service/domain/assets.py",
    "service/domain/jobs",
    "service/domain/security",
    "service/domain/primitives",
)
"""The same inside the domain."""
BESIDE: Final = {
    "store": {"store", "service/transactions", "service/domain", "service/runtime"},
    "service/sandbox": {"service/sandbox", "service/domain/primitives", "service/runtime"},
}
"""What the two outside the layers may import; `OPENED_BY` says who may import them."""
OPENED_BY: Final = {
    "store": ("service/app.py", "service/cli/migrate_store.py"),
    "service/sandbox": ("service/cli",),
}
IMPURE: Final = frozenset(
    {
        "aiohttp",
        "aiosqlite",
        "anyio",
        "asyncio",
        "httpx",
        "os",
        "psycopg",
        "random",
        "secrets",
        "socket",
        "sqlite3",
        "starlette",
        "structlog",
        "threading",
        "time",
        "uvicorn",
    }
)
DRIVERS: Final = frozenset({"aiosqlite", "psycopg", "psycopg_pool", "sqlite3"})
HTTP_CLIENTS: Final = frozenset({"aiohttp", "httpx"})
MAX_LINES: Final = 300
MAX_ENTRIES: Final = 10
GROWING: Final = frozenset({"service/providers", "service/sandbox/providers"})
"""Folders with an entry for each provider, and little else."""


def imported(path: Path) -> set[str]:
    """Name every module that *path* imports, also those that it imports later on."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def libraries(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)} - set(PACKAGES)


def files_imported(path: Path) -> set[str]:
    """The files of ours that *path* imports."""
    found = set()
    for name in imported(path):
        parts = name.split(".")
        if parts[0] not in PACKAGES:
            continue
        for n in range(len(parts), 0, -1):
            base = "/".join(parts[:n])
            if (ROOT / f"{base}.py").is_file():
                found.add(f"{base}.py")
                break
            if (ROOT / base / "__init__.py").is_file():
                found.add(f"{base}/__init__.py")
                break
    return found


def is_in(file: str, place: str) -> bool:
    return file == place or file.startswith(f"{place}/")


def place_of(file: str, places: tuple[str, ...]) -> int | None:
    return next((n for n, place in enumerate(places) if is_in(file, place)), None)


def below(*places: str) -> list[Path]:
    return [path for path in FILES if any(is_in(path.as_posix(), place) for place in places)]


def named(path: Path) -> str:
    return path.as_posix()


@pytest.mark.parametrize("layers", [LAYERS, DOMAIN], ids=["service", "domain"])
def test_no_layer_imports_one_above_it(layers: tuple[str, ...]) -> None:
    upward = []
    for path in FILES:
        own = place_of(path.as_posix(), layers)
        for file in files_imported(path) if own is not None else ():
            other = place_of(file, layers)
            if other is not None and own is not None and other < own:
                upward.append(f"{path} imports {file}")

    assert upward == []


@pytest.mark.parametrize("place", BESIDE)
def test_store_and_sandbox_import_only_what_they_may(place: str) -> None:
    strangers = [
        f"{path} imports {file}"
        for path in below(place)
        for file in files_imported(path)
        if not any(is_in(file, allowed) for allowed in BESIDE[place])
    ]

    assert strangers == []


@pytest.mark.parametrize("place", OPENED_BY)
def test_store_and_sandbox_are_imported_only_where_they_are_opened(place: str) -> None:
    strangers = [
        f"{path} imports {file}"
        for path in FILES
        for file in files_imported(path)
        if is_in(file, place)
        and not is_in(path.as_posix(), place)
        and not any(is_in(path.as_posix(), opener) for opener in OPENED_BY[place])
    ]

    assert strangers == []


def test_every_file_of_the_service_is_in_a_layer() -> None:
    outside = ("service/__init__.py", "service/sandbox")
    files = [path.as_posix() for path in below("service", "handlers")]
    lost = [
        file
        for file in files
        if place_of(file, LAYERS) is None and not any(is_in(file, place) for place in outside)
    ]

    assert lost == []


@pytest.mark.parametrize("path", below("service/domain", "service/providers"), ids=named)
def test_domain_and_providers_do_no_io_and_read_no_clock(path: Path) -> None:
    assert not libraries(path) & IMPURE


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_engine_knows_a_database_driver(path: Path) -> None:
    may = path in below("store/engine", "store/copy_to_postgres.py")

    assert may or not libraries(path) & DRIVERS


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_clients_sandbox_and_cli_know_an_http_client(path: Path) -> None:
    may = path in below("service/runtime/clients", "service/sandbox", "service/cli")

    assert may or not libraries(path) & HTTP_CLIENTS


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_environment_is_read_where_the_process_starts(path: Path) -> None:
    may = path in below("service/__main__.py", "service/cli")
    text = (ROOT / path).read_text("utf-8")

    assert may or not ("os.environ" in text or "getenv" in text)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8")))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert len((ROOT / path).read_text("utf-8").splitlines()) <= MAX_LINES


def test_a_folder_has_few_entries() -> None:
    folders = {path.parent for path in FILES}
    entries = {
        folder.as_posix(): sorted(
            entry.name
            for entry in (ROOT / folder).iterdir()
            if not entry.name.startswith(("__", ".")) and entry.name != "py.typed"
        )
        for folder in folders
        if folder.as_posix() not in GROWING
    }

    assert {folder: found for folder, found in entries.items() if len(found) > MAX_ENTRIES} == {}
