"""The README's client, demo and settings work as the README says."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from service.providers import registry
from service.providers.protocol import Provider
from tests.support.paths import ROOT
from tests.support.service_harness import ADMIN_KEY, SandboxedService, eventually

pytestmark = pytest.mark.anyio

README = ROOT / "README.md"


async def test_the_client_in_the_readme_works_verbatim(
    sandboxed: SandboxedService, tmp_path: Path
) -> None:
    (client,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    script = tmp_path / "client.py"
    script.write_text(client)
    env = {"BELFRY_URL": sandboxed.url, "BELFRY_KEY": ADMIN_KEY, "PATH": os.environ["PATH"]}

    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=env, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 30)

    assert printed.decode().startswith(f"True job.succeeded {sandboxed.sandbox}/media/")


async def test_the_demo_ends_as_expected() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "demo",
        "--once",
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), 90)

    assert process.returncode == 0, printed.decode()
    assert "no provider was polled" in printed.decode()


def paths_in(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_cleans_up_on_either_signal(stop: signal.Signals, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        "demo",
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
    )

    async def has_started() -> bool:
        return bool(paths_in(tmp_path, "*/belfry.db*"))

    await eventually(has_started)
    process.send_signal(stop)
    printed, _ = await asyncio.wait_for(process.communicate(), 30)

    assert process.returncode == 0
    assert "cleaned up" in printed.decode()
    assert not paths_in(tmp_path, "*")


def test_every_setting_is_in_the_readme() -> None:
    source = (ROOT / "service/runtime/settings/__init__.py").read_text()
    known = re.findall(r'"(BELFRY_[A-Z_]+)"', source)

    assert known
    assert [name for name in known if f"`{name}`" not in README.read_text()] == []


@pytest.mark.parametrize("provider", registry().values(), ids=list(registry()))
def test_every_variable_of_a_provider_is_documented(provider: Provider) -> None:
    account = provider.account
    known = [account.token_variable, account.base_url_variable, account.max_jobs_variable]
    known += [account.keys_url_variable] if account.keys_url else []
    known += [account.webhook_secret_variable] if account.has_webhook_secret else []
    documented = (ROOT / "docs" / "providers.md").read_text()

    assert [name for name in known if f"`{name}`" not in documented] == []
