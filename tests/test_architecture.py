import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(
    path.relative_to(ROOT)
    for package in ("service", "handlers", "store")
    for path in (ROOT / package).rglob("*.py")
)
LOOK_OUTWARD = ("service/app.py", "service/__main__.py", "service/cli/")
PURE = [
    *(
        "admission",
        "answers",
        "breaker",
        "callbacks",
        "deliveries",
        "doubts",
        "durations",
        "errors",
        "events",
        "filters",
        "guard",
        "ids",
        "job_view",
        "jobs",
        "keys",
    ),
    *(
        "lanes",
        "moves",
        "recoveries",
        "orders",
        "outputs",
        "ports",
        "receivers",
        "redaction",
        "settings",
        "signing",
        "submissions",
        "subscriptions",
    ),
    *("times", "untrusted"),
]
IMPURE = {
    *("aiohttp", "aiosqlite", "anyio", "asyncio", "httpx", "os", "psycopg", "random", "secrets"),
    *("socket", "sqlite3", "starlette", "structlog", "threading", "time", "uvicorn"),
}
DRIVERS = {"aiosqlite", "psycopg", "psycopg_pool", "sqlite3"}
KNOWING = {f"store/{name}.py" for name in ("sqlite", "sqlite_session", "postgres", "copying")}
CLIENTS = {"aiohttp", "httpx"}
MAX_LINES = 300


def imports(path: Path) -> set[str]:
    """Name every module that *path* imports, also those that it imports later on."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def below(*folders: str) -> list[Path]:
    return [path for path in FILES if path.as_posix().startswith(folders)]


def named(path: Path) -> str:
    return path.as_posix()


PURE_FILES = [Path(f"service/{name}.py") for name in PURE] + below("service/providers/")


@pytest.mark.parametrize("path", below("handlers/"), ids=named)
def test_handlers_know_the_service_and_not_the_store(path: Path) -> None:
    assert "store" not in packages(path)


@pytest.mark.parametrize("path", below("store/"), ids=named)
def test_the_store_knows_the_service_and_not_the_handlers(path: Path) -> None:
    assert "handlers" not in packages(path)


@pytest.mark.parametrize("path", below("service/"), ids=named)
def test_the_service_knows_neither_but_where_all_is_put_together(path: Path) -> None:
    outward = path.as_posix().startswith(LOOK_OUTWARD)

    assert outward or not packages(path) & {"handlers", "store"}


@pytest.mark.parametrize("path", PURE_FILES, ids=named)
def test_a_pure_module_does_no_io_and_knows_neither_time_nor_chance(path: Path) -> None:
    assert not packages(path) & IMPURE


@pytest.mark.parametrize("path", PURE_FILES, ids=named)
def test_a_pure_module_builds_on_pure_modules(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("service.")}

    assert ours <= {*PURE, "providers"}


@pytest.mark.parametrize("path", below("service/providers/"), ids=named)
def test_a_provider_knows_only_the_words_it_is_asked_in(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("service.")}

    assert ours <= {"errors", "jobs", "outputs", "providers", "untrusted"}


@pytest.mark.parametrize("path", below("service/sandbox/"), ids=named)
def test_the_sandbox_knows_nothing_of_the_service_it_plays_with(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("service.")}

    assert ours <= {"sandbox", "times"}


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_its_own_file_knows_a_driver(path: Path) -> None:
    assert path.as_posix() in KNOWING or not packages(path) & DRIVERS


@pytest.mark.parametrize("path", FILES, ids=named)
def test_only_the_clients_sandbox_and_cli_know_an_http_client(path: Path) -> None:
    may = path.as_posix().startswith(
        ("service/outbound.py", "service/provider_client.py", "service/sandbox/", "service/cli/")
    )

    assert may or not packages(path) & CLIENTS


@pytest.mark.parametrize("path", FILES, ids=named)
def test_the_environment_is_read_where_the_process_starts(path: Path) -> None:
    may = path.as_posix().startswith(("service/__main__.py", "service/cli/"))
    text = (ROOT / path).read_text("utf-8")

    assert may or not ("os.environ" in text or "getenv" in text)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_module_says_what_it_owns(path: Path) -> None:
    assert ast.get_docstring(ast.parse((ROOT / path).read_text("utf-8")))


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    lines = (ROOT / path).read_text("utf-8").splitlines()

    assert len(lines) <= MAX_LINES
