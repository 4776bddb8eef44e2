"""`belfry doctor` in its own process, against services that really run."""

import asyncio
import os
import sys
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest

from service.domain.jobs.results import ErrorCode
from service.providers import providers_with_callbacks, registry
from service.providers.protocol import Provider, Reply
from tests.support.receivers import Receiver, hang, json_answer, receiving, status
from tests.support.service_harness import (
    SIGNING_KEY,
    a_process,
    coverage_environ,
    environ,
    free_port,
    providers_at,
    running_service,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio
REMOTE = "http://provider.invalid"
PROVIDERS = registry()
USEAPI, RUNWARE, RUNWAY_AI = (PROVIDERS[name] for name in ("useapi", "runware", "runway_ai"))
NO_PROVIDER = {provider.account.token_variable: "" for provider in PROVIDERS.values()}


async def run_doctor(env: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "doctor",
        env={**env, **coverage_environ(), "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 40)
    return process.returncode, printed.decode()


async def diagnostics(env: dict[str, str], subject: str) -> list[str]:
    """Run the doctor and return severity and message of each line about *subject*."""
    _, printed = await run_doctor(env)
    lines = [line.split(maxsplit=2) for line in printed.splitlines()]
    return [f"{severity} {message}" for severity, name, message in lines if name == subject]


@pytest.fixture
def not_running(sqlite_url: str) -> dict[str, str]:
    """Settings of a service that does not run, without providers and without a public URL."""
    return environ(sqlite_url, free_port(), BELFRY_PUBLIC_URL="", **NO_PROVIDER)


def keys_beside(database_url: str) -> Path:
    return Path(f"{database_url.removeprefix('sqlite:///')}.keys")


async def test_a_healthy_service_has_no_errors(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        code, printed = await run_doctor(dict(sandboxed.settings))
        ledger = await sandboxed.ledger()

    lines = [tuple(line.split()[:2]) for line in printed.splitlines()]
    assert code == 0, printed
    assert lines == [
        ("ok", "settings"),
        ("ok", "keys"),
        ("ok", "service"),
        ("ok", "callbacks"),
        ("note", "callbacks"),
        *(("ok" if one.check() else "note", name) for name, one in PROVIDERS.items()),
        ("ok", "clock"),
    ]
    assert "store: ok, loops: ok" in printed
    assert ledger["tasks"] == []


async def test_output_to_a_file_has_no_secrets_and_no_colours(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        _, printed = await run_doctor(dict(sandboxed.settings))

    for secret in (SIGNING_KEY, sandboxed.settings["USEAPI_TOKEN"], "admin-key", "t=", "\x1b"):
        assert secret not in printed


async def test_every_invalid_setting_has_a_line(not_running: dict[str, str]) -> None:
    bad = {"PORT": "many", "BELFRY_SECRET_KEYS": "short-secret", "USEAPI_TOKEN": "two words"}

    code, printed = await run_doctor(not_running | bad)

    assert code == 1
    assert [line.split()[:3] for line in printed.splitlines()] == [
        ["error", "settings", f"{name}:"] for name in ("BELFRY_SECRET_KEYS", "PORT", "USEAPI_TOKEN")
    ]
    assert "short-secret" not in printed


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (SIGNING_KEY, 0o600, "ok found 1 in "),
        (f"{SIGNING_KEY} {SIGNING_KEY}", 0o644, "warning found 2 in "),
        ("", 0o600, "error "),
        (None, 0, "error BELFRY_SECRET_KEYS is not set"),
    ],
)
async def test_the_keys_file_is_read_and_should_be_private(
    not_running: dict[str, str], sqlite_url: str, content: str | None, mode: int, expected: str
) -> None:
    file = keys_beside(sqlite_url)
    if content is not None:
        file.write_text(content)
        file.chmod(mode)

    (line,) = await diagnostics(not_running | {"BELFRY_SECRET_KEYS": ""}, "keys")

    assert line.startswith(expected)
    assert str(file) in line
    assert SIGNING_KEY not in line
    assert file.exists() is (content is not None)


async def test_an_unreadable_keys_file_is_an_error(
    not_running: dict[str, str], sqlite_url: str
) -> None:
    keys_beside(sqlite_url).mkdir()

    (line,) = await diagnostics(not_running | {"BELFRY_SECRET_KEYS": ""}, "keys")

    assert line.startswith("error ")
    assert line.startswith(f"error cannot read {keys_beside(sqlite_url)} (")


async def test_a_service_that_does_not_run_is_an_error(not_running: dict[str, str]) -> None:
    code, printed = await run_doctor(not_running)

    assert code == 1
    assert f"cannot reach http://127.0.0.1:{not_running['PORT']}" in printed
    assert "belfry serve" in printed


async def test_the_service_reports_its_own_problems(
    not_running: dict[str, str], receiver: Receiver
) -> None:
    state = {"ready": False, "store": "The disk is full.", "loops": "dead: courier"}
    receiver.otherwise = json_answer(503, state)

    (line,) = await diagnostics(not_running | {"BELFRY_URL": receiver.url}, "service")

    assert line == "error store: The disk is full., loops: dead: courier"


async def test_another_server_at_the_address_is_an_error(
    not_running: dict[str, str], receiver: Receiver
) -> None:
    receiver.otherwise = status(200, b"<h1>It works!</h1>")

    (line,) = await diagnostics(not_running | {"BELFRY_URL": receiver.url}, "service")

    assert line.startswith("error the server at ")
    assert "is not Belfry" in line


async def test_a_service_with_other_keys_is_an_error(sqlite_url: str) -> None:
    async with running_service(sqlite_url, **NO_PROVIDER) as service:
        other = {**service.settings, "BELFRY_SECRET_KEYS": "another-key-0123456789abcdefghijklmnop"}
        code, printed = await run_doctor(other)

    assert code == 1
    assert "the same BELFRY_SECRET_KEYS" in printed


async def test_the_newest_and_older_keys_are_accepted(sqlite_url: str) -> None:
    newer = "newer-key-0123456789abcdefghijklmnopqr"
    both = f"{SIGNING_KEY},{newer}"
    async with running_service(sqlite_url, BELFRY_SECRET_KEYS=both, **NO_PROVIDER) as service:
        for keys in (both, newer, SIGNING_KEY):
            line, _ = await diagnostics(
                {**service.settings, "BELFRY_SECRET_KEYS": keys}, "callbacks"
            )

            assert line.startswith("ok ")


@pytest.mark.parametrize(
    ("code", "body", "message"),
    [
        (200, b"", "is not Belfry"),
        (400, b"<h1>Plain HTTP sent to an HTTPS port</h1>", "is not Belfry"),
        (301, b"", "redirects"),
        (401, b"", "requires authentication"),
        (404, b"", "the same BELFRY_SECRET_KEYS"),
        (502, b"", "a proxy"),
        (503, b"", "cannot write to its store"),
    ],
)
async def test_another_response_to_the_test_callback_is_an_error(
    not_running: dict[str, str], receiver: Receiver, code: int, body: bytes, message: str
) -> None:
    receiver.otherwise = status(code, body, location="https://elsewhere.example")

    line, _ = await diagnostics(not_running | {"BELFRY_PUBLIC_URL": receiver.url}, "callbacks")

    assert line.startswith("error ")
    assert message in line
    assert f"(HTTP {code})" in line
    assert "t=" in receiver.received[0].path
    assert receiver.received[0].path.partition("t=")[2] not in line


async def test_an_unreachable_public_url_is_an_error(not_running: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    line, _ = await diagnostics(not_running | {"BELFRY_PUBLIC_URL": url}, "callbacks")

    assert line.startswith(f"error cannot reach {url} from this machine")


async def test_a_public_url_without_response_times_out(
    not_running: dict[str, str], receiver: Receiver
) -> None:
    receiver.otherwise = hang

    line, _ = await diagnostics(not_running | {"BELFRY_PUBLIC_URL": receiver.url}, "callbacks")

    assert "no response in 5 s" in line


async def test_a_public_url_that_does_not_resolve_is_also_a_warning(
    not_running: dict[str, str],
) -> None:
    url = "https://belfry.invalid"

    reach, address = await diagnostics(not_running | {"BELFRY_PUBLIC_URL": url}, "callbacks")

    assert reach.startswith(f"error cannot reach {url}")
    assert address.startswith("warning cannot resolve belfry.invalid")


async def test_a_remote_provider_needs_a_public_url(not_running: dict[str, str]) -> None:
    remote = {"USEAPI_TOKEN": "user:1-x", "USEAPI_BASE_URL": REMOTE}

    (without,) = await diagnostics(not_running, "callbacks")
    (line,) = await diagnostics(not_running | remote, "callbacks")

    assert without.startswith("note BELFRY_PUBLIC_URL is not set")
    assert line.startswith("error BELFRY_PUBLIC_URL is not set, so useapi cannot send callbacks")


async def test_a_provider_without_callbacks_needs_no_public_url(
    not_running: dict[str, str],
) -> None:
    remote = {"RUNWAY_AI_API_KEY": "x", "RUNWAY_AI_BASE_URL": REMOTE}

    (line,) = await diagnostics(not_running | remote, "callbacks")

    assert line.startswith("note ")
    assert {"useapi", "runware"} <= set(providers_with_callbacks())
    assert not {"runway_ai", "runway"} & set(providers_with_callbacks())


async def test_a_private_public_url_is_a_warning_with_a_remote_provider(sqlite_url: str) -> None:
    async with running_service(sqlite_url, USEAPI_BASE_URL=REMOTE) as service:
        reach, address = await diagnostics(dict(service.settings), "callbacks")

    assert reach.startswith("ok ")
    assert address.startswith(
        "warning 127.0.0.1 resolves to 127.0.0.1, which the internet cannot reach"
    )


@pytest.mark.parametrize(("ahead", "direction"), [(300, "behind"), (-300, "ahead of")])
async def test_a_clock_offset_to_a_provider_is_a_warning(
    not_running: dict[str, str], receiver: Receiver, ahead: int, direction: str
) -> None:
    receiver.accounts = None
    receiver.otherwise = json_answer(200, {}, date=formatdate(time() + ahead, usegmt=True))
    useapi = {"USEAPI_TOKEN": "user:1-x", "USEAPI_BASE_URL": receiver.url}

    (line,) = await diagnostics(not_running | useapi, "clock")

    assert line.startswith("warning ")
    assert f"{direction} the clock of useapi" in line


async def test_an_invalid_credential_is_an_error_and_is_not_printed(
    sqlite_url: str,
) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        wrong = {"USEAPI_TOKEN": "user:2-hush", "RUNWARE_API_KEY": "hush"}
        code, printed = await run_doctor({**sandboxed.settings, **wrong})

    assert code == 1
    for name, variable in (("useapi", "USEAPI_TOKEN"), ("runware", "RUNWARE_API_KEY")):
        line = f"error    {name:<16}The provider refused the credential: set {variable} to a valid"
        assert line in printed
    assert "hush" not in printed


@pytest.mark.parametrize(
    ("accounts", "cap", "shown"),
    [
        (
            {"a@b.example": {"maxJobs": 5}, "c@d.example": {"maxJobs": 3}},
            "",
            "2; jobs at once: 5, 3",
        ),
        (
            {"a@b.example": {"maxJobs": 5}, "c@d.example": {"maxJobs": 3}},
            "4",
            "2; jobs at once: 4, 3",
        ),
        ({}, "", "0"),
    ],
)
async def test_linked_accounts_are_shown_without_their_names(
    not_running: dict[str, str],
    receiver: Receiver,
    accounts: dict[str, Any],
    cap: str,
    shown: str,
) -> None:
    receiver.accounts = accounts
    useapi = {"USEAPI_TOKEN": "t", "USEAPI_BASE_URL": receiver.url, "USEAPI_MAX_JOBS": cap}

    (line,) = await diagnostics(not_running | useapi, "useapi")

    assert line == f"ok USEAPI_TOKEN is accepted; linked accounts: {shown}"


async def test_an_unreachable_provider_is_an_error(not_running: dict[str, str]) -> None:
    unreachable = providers_at(f"http://127.0.0.1:{free_port()}")

    (line,) = await diagnostics(not_running | unreachable, "runware")

    assert line.startswith("error 127.0.0.1: cannot connect")
    assert "RUNWARE_BASE_URL" in line


async def test_a_providers_message_is_printed_without_credential_and_control_characters(
    not_running: dict[str, str],
) -> None:
    async with receiving() as receiver:
        receiver.accounts = None
        receiver.otherwise = json_answer(400, {"error": "\x1b[2J[red]no hush-hush here"})
        useapi = {"USEAPI_TOKEN": "hush-hush", "USEAPI_BASE_URL": receiver.url}
        (line,) = await diagnostics(not_running | useapi, "useapi")

    assert line.startswith("error [2J[red]no … here: ")
    assert receiver.received[0].headers["authorization"] == "Bearer hush-hush"


@pytest.mark.parametrize(
    ("provider", "status_code", "body", "code", "message"),
    [
        (USEAPI, 200, b'{"a@b.example": {"maxJobs": 5}}', None, ""),
        (
            USEAPI,
            401,
            b'{"error": "Unauthorized", "code": 401}',
            ErrorCode.UNAUTHORIZED,
            "credential",
        ),
        (USEAPI, 402, b"", ErrorCode.INSUFFICIENT_CREDITS, "expired"),
        (USEAPI, 404, b"", ErrorCode.INVALID_INPUT, "No Runway account"),
        (USEAPI, 200, b"<html>", ErrorCode.PROVIDER_ERROR, "could not be read"),
        (USEAPI, 500, b"{}", ErrorCode.PROVIDER_ERROR, "500"),
        (RUNWARE, 200, b'{"data": []}', None, ""),
        (RUNWARE, 400, b'{"errors": [{"code": "taskNotFound", "message": "x"}]}', None, ""),
        (RUNWARE, 401, b"", ErrorCode.UNAUTHORIZED, "credential"),
        (
            RUNWARE,
            200,
            b'{"errors": [{"code": "invalidApiKey", "message": "no: hush"}]}',
            ErrorCode.UNAUTHORIZED,
            "credential",
        ),
        (
            RUNWARE,
            402,
            b'{"errors": [{"code": "insufficientCredits", "message": "Add some."}]}',
            ErrorCode.INSUFFICIENT_CREDITS,
            "Add some.",
        ),
        (RUNWARE, 404, b"<html>", ErrorCode.INVALID_INPUT, "404"),
        (RUNWARE, 200, b"<html>", ErrorCode.PROVIDER_ERROR, "could not be read"),
        (RUNWAY_AI, 200, b"{}", None, ""),
        (RUNWAY_AI, 401, b"", ErrorCode.UNAUTHORIZED, "credential"),
    ],
)
def test_the_response_to_the_check_becomes_an_error(
    provider: Provider, status_code: int, body: bytes, code: ErrorCode | None, message: str
) -> None:
    error = provider.read_check(Reply(status=status_code, headers={}, body=body))

    assert (error.code if error else None) is code
    assert message in (error.message if error else "")


def test_only_providers_with_a_free_request_are_checked() -> None:
    assert [one.check() is not None for one in (USEAPI, RUNWARE, RUNWAY_AI)] == [True, True, False]


@pytest.mark.parametrize(("base_url", "warned"), [(REMOTE, True), ("http://127.0.0.1:9", False)])
async def test_the_start_warns_of_a_private_public_url_with_a_remote_provider(
    sqlite_url: str, tmp_path: Path, base_url: str, *, warned: bool
) -> None:
    async with a_process(sqlite_url, tmp_path, RUNWARE_BASE_URL=base_url) as service:
        log = service.log.read_text()

    assert ("service.warned" in log) is warned
    assert not warned or '"providers":["runware"]' in log
