"""`belfry doctor` as a person meets it: in a process of its own, with services that really run."""

import asyncio
import os
import sys
from email.utils import formatdate
from pathlib import Path
from time import time

import pytest

from service.domain.jobs.results import ErrorCode
from service.providers import providers_with_callbacks, registry
from service.providers.protocol import Provider, Reply
from tests.support.receivers import Receiver, hang, receiving, said, status
from tests.support.service_harness import (
    SIGNING_KEY,
    a_process,
    environ,
    free_port,
    providers_at,
    running_service,
    sandboxed_service,
)

pytestmark = pytest.mark.anyio
FAR = "http://provider.invalid"
USEAPI, RUNWARE, RUNWAY_AI = registry().values()
NO_PROVIDER = {"USEAPI_TOKEN": "", "RUNWARE_API_KEY": "", "RUNWAY_AI_API_KEY": ""}


async def examined(env: dict[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "doctor",
        env={**env, "PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 40)
    return process.returncode, printed.decode()


async def told(env: dict[str, str], about: str) -> list[str]:
    """Every level and message about one thing, after one look."""
    _, printed = await examined(env)
    lines = [line.split(maxsplit=2) for line in printed.splitlines()]
    return [f"{level} {message}" for level, subject, message in lines if subject == about]


@pytest.fixture
def alone(sqlite_url: str) -> dict[str, str]:
    """Settings of a service that does not run, without providers and a public URL."""
    return environ(sqlite_url, free_port(), BELFRY_PUBLIC_URL="", **NO_PROVIDER)


def keys_beside(database_url: str) -> Path:
    return Path(f"{database_url.removeprefix('sqlite:///')}.keys")


async def test_a_service_that_is_well_has_nothing_to_mend(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        code, printed = await examined(dict(sandboxed.settings))
        ledger = await sandboxed.ledger()

    levels = [tuple(line.split()[:2]) for line in printed.splitlines()]
    assert code == 0, printed
    assert levels == [
        ("ok", "settings"),
        ("ok", "keys"),
        ("ok", "service"),
        ("ok", "callbacks"),
        ("note", "callbacks"),
        ("ok", "useapi"),
        ("ok", "runware"),
        ("note", "runway_ai"),
        ("ok", "clock"),
    ]
    assert "store: ok, loops: ok" in printed
    assert ledger["tasks"] == []


async def test_no_secret_is_printed_and_nothing_is_coloured_for_a_file(sqlite_url: str) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        _, printed = await examined(dict(sandboxed.settings))

    for secret in (SIGNING_KEY, sandboxed.settings["USEAPI_TOKEN"], "admin-key", "t=", "\x1b"):
        assert secret not in printed


async def test_every_bad_setting_has_a_line(alone: dict[str, str]) -> None:
    bad = {"PORT": "many", "BELFRY_SECRET_KEYS": "short-secret", "USEAPI_TOKEN": "two words"}

    code, printed = await examined(alone | bad)

    assert code == 1
    assert [line.split()[:3] for line in printed.splitlines()] == [
        ["fault", "settings", f"{name}:"] for name in ("BELFRY_SECRET_KEYS", "PORT", "USEAPI_TOKEN")
    ]
    assert "short-secret" not in printed


@pytest.mark.parametrize(
    ("content", "mode", "expected"),
    [
        (SIGNING_KEY, 0o600, "ok 1 in "),
        (f"{SIGNING_KEY} {SIGNING_KEY}", 0o644, "warning 2 in "),
        ("", 0o600, "fault "),
        (None, 0, "fault no BELFRY_SECRET_KEYS"),
    ],
)
async def test_keys_beside_the_database_are_counted_and_ought_to_be_private(
    alone: dict[str, str], sqlite_url: str, content: str | None, mode: int, expected: str
) -> None:
    file = keys_beside(sqlite_url)
    if content is not None:
        file.write_text(content)
        file.chmod(mode)

    (line,) = await told(alone | {"BELFRY_SECRET_KEYS": ""}, "keys")

    assert line.startswith(expected)
    assert str(file) in line
    assert SIGNING_KEY not in line
    assert file.exists() is (content is not None)


async def test_keys_that_cannot_be_read_are_a_fault(alone: dict[str, str], sqlite_url: str) -> None:
    keys_beside(sqlite_url).mkdir()

    (line,) = await told(alone | {"BELFRY_SECRET_KEYS": ""}, "keys")

    assert line.startswith("fault ")
    assert "cannot be read" in line


async def test_a_service_that_does_not_run_is_to_be_started(alone: dict[str, str]) -> None:
    code, printed = await examined(alone)

    assert code == 1
    assert f"nothing answers at http://127.0.0.1:{alone['PORT']}" in printed
    assert "belfry serve" in printed


async def test_what_ails_a_service_is_told_in_its_own_words(
    alone: dict[str, str], receiver: Receiver
) -> None:
    state = {"ready": False, "store": "The disk is full.", "loops": "dead: courier"}
    receiver.otherwise = said(503, state)

    (line,) = await told(alone | {"BELFRY_URL": receiver.url}, "service")

    assert line == "fault store: The disk is full., loops: dead: courier"


async def test_a_stranger_at_its_address_is_not_taken_for_the_service(
    alone: dict[str, str], receiver: Receiver
) -> None:
    receiver.otherwise = status(200, b"<h1>It works!</h1>")

    (line,) = await told(alone | {"BELFRY_URL": receiver.url}, "service")

    assert line.startswith("fault what answers at ")
    assert "is not Belfry" in line


async def test_a_service_with_other_keys_refuses_the_callback(sqlite_url: str) -> None:
    async with running_service(sqlite_url, **NO_PROVIDER) as service:
        other = {**service.settings, "BELFRY_SECRET_KEYS": "another-key-0123456789abcdefghijklmnop"}
        code, printed = await examined(other)

    assert code == 1
    assert "not with these keys" in printed


async def test_the_newest_key_signs_and_an_older_one_still_fits(sqlite_url: str) -> None:
    newer = "newer-key-0123456789abcdefghijklmnopqr"
    both = f"{SIGNING_KEY},{newer}"
    async with running_service(sqlite_url, BELFRY_SECRET_KEYS=both, **NO_PROVIDER) as service:
        for keys in (both, newer, SIGNING_KEY):
            line, _ = await told({**service.settings, "BELFRY_SECRET_KEYS": keys}, "callbacks")

            assert line.startswith("ok ")


@pytest.mark.parametrize(
    ("code", "body", "words"),
    [
        (200, b"", "is not Belfry"),
        (400, b"<h1>Plain HTTP sent to an HTTPS port</h1>", "is not Belfry"),
        (301, b"", "redirects"),
        (401, b"", "a password"),
        (404, b"", "not with these keys"),
        (502, b"", "a proxy"),
        (503, b"", "cannot write its store"),
    ],
)
async def test_who_else_answers_callbacks_is_a_fault(
    alone: dict[str, str], receiver: Receiver, code: int, body: bytes, words: str
) -> None:
    receiver.otherwise = status(code, body, location="https://elsewhere.example")

    line, _ = await told(alone | {"BELFRY_PUBLIC_URL": receiver.url}, "callbacks")

    assert line.startswith("fault ")
    assert words in line
    assert f"(HTTP {code})" in line
    assert "t=" in receiver.received[0].path
    assert receiver.received[0].path.partition("t=")[2] not in line


async def test_a_public_url_that_leads_nowhere_is_a_fault(alone: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    line, _ = await told(alone | {"BELFRY_PUBLIC_URL": url}, "callbacks")

    assert line.startswith(f"fault {url} cannot be reached from here")


async def test_a_public_url_that_keeps_silent_is_given_up(
    alone: dict[str, str], receiver: Receiver
) -> None:
    receiver.otherwise = hang

    line, _ = await told(alone | {"BELFRY_PUBLIC_URL": receiver.url}, "callbacks")

    assert "no answer in 5 s" in line


async def test_a_name_that_nobody_knows_is_a_warning_too(alone: dict[str, str]) -> None:
    url = "https://belfry.invalid"

    reach, address = await told(alone | {"BELFRY_PUBLIC_URL": url}, "callbacks")

    assert reach.startswith(f"fault {url} cannot be reached")
    assert address.startswith("warning the name belfry.invalid is not known")


async def test_a_provider_far_away_cannot_do_without_a_public_url(alone: dict[str, str]) -> None:
    far = {"USEAPI_TOKEN": "user:1-x", "USEAPI_BASE_URL": FAR}

    (without,) = await told(alone, "callbacks")
    (line,) = await told(alone | far, "callbacks")

    assert without.startswith("note BELFRY_PUBLIC_URL is not set")
    assert line.startswith("fault BELFRY_PUBLIC_URL is not set, so useapi cannot call back")


async def test_a_provider_without_callbacks_needs_no_public_url(alone: dict[str, str]) -> None:
    far = {"RUNWAY_AI_API_KEY": "x", "RUNWAY_AI_BASE_URL": FAR}

    (line,) = await told(alone | far, "callbacks")

    assert line.startswith("note ")
    assert providers_with_callbacks() == ["useapi", "runware"]


async def test_a_private_address_is_a_warning_once_a_provider_is_far_away(sqlite_url: str) -> None:
    async with running_service(sqlite_url, USEAPI_BASE_URL=FAR) as service:
        reach, address = await told(dict(service.settings), "callbacks")

    assert reach.startswith("ok ")
    assert address.startswith("warning 127.0.0.1 is 127.0.0.1, which cannot be reached")


@pytest.mark.parametrize(("ahead", "by"), [(300, "behind"), (-300, "ahead of")])
async def test_a_clock_that_disagrees_with_a_provider_is_a_warning(
    alone: dict[str, str], receiver: Receiver, ahead: int, by: str
) -> None:
    receiver.otherwise = said(200, {}, date=formatdate(time() + ahead, usegmt=True))
    useapi = {"USEAPI_TOKEN": "user:1-x", "USEAPI_BASE_URL": receiver.url}

    (line,) = await told(alone | useapi, "clock")

    assert line.startswith("warning ")
    assert f"{by} that of useapi" in line


async def test_a_wrong_credential_is_refused_by_its_provider_and_not_shown(
    sqlite_url: str,
) -> None:
    async with sandboxed_service(sqlite_url) as sandboxed:
        wrong = {"USEAPI_TOKEN": "user:2-hush", "RUNWARE_API_KEY": "hush"}
        code, printed = await examined({**sandboxed.settings, **wrong})

    assert code == 1
    for name, variable in (("useapi", "USEAPI_TOKEN"), ("runware", "RUNWARE_API_KEY")):
        refusal = f"fault    {name:<11}The provider refused the credential: set {variable} to one"
        assert refusal in printed
    assert "hush" not in printed


async def test_a_provider_that_cannot_be_reached_is_a_fault(alone: dict[str, str]) -> None:
    nowhere = providers_at(f"http://127.0.0.1:{free_port()}")

    (line,) = await told(alone | nowhere, "runware")

    assert line.startswith("fault 127.0.0.1: cannot connect")
    assert "RUNWARE_BASE_URL" in line


async def test_a_providers_words_neither_repeat_the_credential_nor_play_with_the_terminal(
    alone: dict[str, str],
) -> None:
    async with receiving() as receiver:
        receiver.otherwise = said(400, {"error": "\x1b[2J[red]no hush-hush here"})
        useapi = {"USEAPI_TOKEN": "hush-hush", "USEAPI_BASE_URL": receiver.url}
        (line,) = await told(alone | useapi, "useapi")

    assert line.startswith("fault [2J[red]no … here: ")
    assert receiver.received[0].headers["authorization"] == "Bearer hush-hush"


@pytest.mark.parametrize(
    ("provider", "status_code", "body", "code", "words"),
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
def test_an_answer_to_the_check_says_what_stands_in_the_way(
    provider: Provider, status_code: int, body: bytes, code: ErrorCode | None, words: str
) -> None:
    error = provider.read_check(Reply(status=status_code, headers={}, body=body))

    assert (error.code if error else None) is code
    assert words in (error.message if error else "")


def test_only_a_provider_with_a_free_read_is_asked() -> None:
    assert [one.check() is not None for one in (USEAPI, RUNWARE, RUNWAY_AI)] == [True, True, False]


@pytest.mark.parametrize(("base_url", "warned"), [(FAR, True), ("http://127.0.0.1:9", False)])
async def test_a_start_warns_of_an_address_that_a_far_provider_cannot_call(
    sqlite_url: str, tmp_path: Path, base_url: str, *, warned: bool
) -> None:
    async with a_process(sqlite_url, tmp_path, RUNWARE_BASE_URL=base_url) as service:
        log = service.log.read_text()

    assert ("service.warned" in log) is warned
    assert not warned or '"providers":["runware"]' in log
