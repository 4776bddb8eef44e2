"""The process starts and stops as expected."""

import asyncio
import os
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.support.paths import ROOT
from tests.support.receivers import Receiver, hang, held_until, receiving, status
from tests.support.service_harness import (
    ADMIN_KEY,
    SIGNING_KEY,
    ServiceProcess,
    a_process,
    coverage_environ,
    environ,
    eventually,
    free_port,
    providers_at,
)

pytestmark = pytest.mark.anyio


async def run(env: dict[str, str], folder: Path) -> tuple[int | None, str]:
    """Run the service until it exits; returns its exit code and its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "service",
        env={
            **env,
            **coverage_environ(),
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
        },
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, printed.decode()


async def test_sigterm_ends_streams_and_finishes_a_webhook_in_flight(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    gate = asyncio.Event()
    receiver.script = [held_until(gate)]
    async with a_process(database_url, tmp_path) as service:
        await service.subscribe(receiver.url, "job.queued")
        headers = {"authorization": f"Bearer {ADMIN_KEY}"}
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"{service.url}/v1/stream", headers=headers) as stream,
        ):
            await service.submit("useapi", "frames.create", {"text_prompt": "x"})
            await receiver.wait(1)

            lines = stream.aiter_lines()
            async for line in lines:
                if line == "event: job.queued":
                    break

            started = time.monotonic()
            stopping = asyncio.create_task(service.terminate())
            _ = [line async for line in lines]
            gate.set()
            code = await stopping
            took = time.monotonic() - started

        await service.start()
        (delivery,) = await service.deliveries()

    assert (code, delivery["status"]) == (0, "delivered")
    assert len(receiver.received) == 1
    assert took < 10


async def test_a_second_process_on_the_same_file_is_refused(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with a_process(sqlite_url, tmp_path):
        code, printed = await run(environ(sqlite_url, free_port()), tmp_path)

    assert code == 1
    assert "BELFRY_DATABASE_URL: another process has" in printed


async def test_a_port_in_use_is_reported_with_the_name_of_its_setting(
    database_url: str, tmp_path: Path
) -> None:
    async with a_process(database_url, tmp_path) as service:
        other = f"sqlite:///{tmp_path}/other.db"
        code, printed = await run(environ(other, service.port), tmp_path)

    assert code == 1
    assert "HOST, PORT: cannot listen" in printed


async def test_a_file_that_is_not_a_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_text("this is not a SQLite database" * 100)

    code, printed = await run(environ(f"sqlite:///{tmp_path}/no.db", free_port()), tmp_path)

    assert code == 1
    assert "BELFRY_DATABASE_URL" in printed


async def test_all_invalid_settings_are_reported_together_without_secrets(tmp_path: Path) -> None:
    env = environ("mysql://x", free_port(), PORT="many") | {"BELFRY_SECRET_KEYS": "short-secret"}

    code, printed = await run(env, tmp_path)

    assert code == 1
    for name in ("BELFRY_DATABASE_URL", "BELFRY_SECRET_KEYS", "PORT"):
        assert name in printed
    assert "short-secret" not in printed


async def test_the_first_admin_key_is_printed_once(database_url: str, tmp_path: Path) -> None:
    async with a_process(database_url, tmp_path, BELFRY_ADMIN_KEY="") as service:
        await service.terminate()
        await service.start()
        log = service.log.read_text()
        key = log.split("shown only this once: ")[1].split()[0]
        answer = await service.http.get("/v1/jobs", headers={"authorization": f"Bearer {key}"})

    assert log.count("shown only this once") == 1
    assert answer.status_code == 200


async def test_no_secret_is_in_the_log(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with a_process(database_url, tmp_path) as service:
        subscription = await service.subscribe(receiver.url, "job.*")
        job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
        async with httpx.AsyncClient() as client:
            await client.post(f"{service.url}/callbacks/useapi/{job['ref']}?t=aaaa.bbbb", json={})
        await receiver.wait(1)
        await service.terminate()
        log = service.log.read_text()

    assert "job.answered" in log or "request.served" in log
    for secret in (ADMIN_KEY, SIGNING_KEY, subscription["secret"], "aaaa.bbbb", "sandbox"):
        assert secret not in log


async def test_a_request_in_flight_is_answered_before_the_process_stops(
    database_url: str, tmp_path: Path
) -> None:
    async with a_process(database_url, tmp_path) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        body = b'{"provider":"useapi","operation":"frames.create","input":{"text_prompt":"x"}}'
        head = (
            f"POST /v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n"
            f"expect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode())
        interim = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)

        stopping = asyncio.create_task(service.terminate())
        await eventually(lambda: accepts_no_connections(service))
        writer.write(body)
        answer = await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        code = await stopping
        await service.start()
        jobs = (await service.get("/v1/jobs"))["data"]

    assert b" 100 " in interim
    assert b" 202 " in answer
    assert (code, len(jobs)) == (0, 1)


async def accepts_no_connections(service: ServiceProcess) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    except ConnectionError:  # refused, or reset if it waited for the closing socket
        return True
    writer.close()
    return False


async def test_the_process_stops_in_time_although_provider_and_receiver_hang(
    database_url: str, tmp_path: Path, receiver: Receiver
) -> None:
    async with receiving() as provider:
        provider.otherwise = receiver.otherwise = hang
        env = providers_at(provider.url)
        async with a_process(database_url, tmp_path, **env) as service:
            await service.subscribe(receiver.url, "job.queued")
            job = await service.submit("useapi", "frames.create", {"text_prompt": "x"})
            await provider.wait(1)
            await receiver.wait(1)

            start = time.monotonic()
            code = await service.terminate()
            took = time.monotonic() - start
            receiver.otherwise = status(200)
            await service.start()
            first, second = await receiver.wait(2)
            unanswered = await service.job(job["id"])

    assert (code, took < 10) == (0, True)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (unanswered["status"], len(provider.received)) == ("submitting", 1)
