"""The demo's story: eight jobs, what should become of each, and what did."""

from typing import Any, Final

import httpx
import msgspec
from rich import box
from rich.table import Table

from service.cli.demo.receiver import DemoReceiver

Json = dict[str, Any]
_CAPTION: Final = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
_COLOURS: Final = {"succeeded": "green", "failed": "red", "running": "cyan"}
_ENDS: Final = ("succeeded", "failed", "canceled", "expired")


class DemoCase(msgspec.Struct, frozen=True):
    """One job: what it shows, and how it should end."""

    shows: str
    provider: str
    operation: str
    input: Json
    end: str = "succeeded"
    verdict: str | None = None


DEMO_CASES: Final = (
    DemoCase("progress, then four images", "useapi", "frames.create",
          {"text_prompt": "a lighthouse"}),
    DemoCase("a callback, three times", "useapi", "frames.create",
          {"text_prompt": "a storm [dup 3]"}, verdict="repeated"),
    DemoCase("a forged callback first", "useapi", "frames.create",
          {"text_prompt": "a keeper [forged]"}, verdict="forged"),
    DemoCase("a moderated prompt", "useapi", "frames.create",
          {"text_prompt": "a wreck [moderated]"}, end="failed"),
    DemoCase("a provider busy at first", "useapi", "frames.create",
          {"text_prompt": "a gull [429 1 after 1]"}),
    DemoCase("an image described", "useapi", "frames.describe", {"image_assetId": "lighthouse"}),
    DemoCase("two captions, one request", "runware", "imageCaption", _CAPTION),
    DemoCase("in the other envelope", "runware", "imageCaption",
          {**_CAPTION, "prompt": "What is this? [flat]"}),
    DemoCase("an API without callbacks", "runway_ai", "generate-image", {"prompt": "a lighthouse"}),
)  # fmt: skip


class DemoRun:
    """Submits the scenes and looks at what becomes of them."""

    def __init__(self, client: httpx.AsyncClient, sandbox: str, subscriber: DemoReceiver) -> None:
        self._client, self._sandbox, self._subscriber = client, sandbox, subscriber
        self._jobs: list[Json] = []
        self._callbacks: list[Json] = []

    async def begin(self, receiver: str) -> None:
        """Subscribe, then submit everything; Runware's jobs go in one array."""
        made = await self._ask(
            "POST", "/v1/subscriptions", {"url": receiver, "event_types": ["job.*"]}
        )
        self._subscriber.secret = made["secret"]
        orders = [
            {"provider": s.provider, "operation": s.operation, "input": s.input} for s in DEMO_CASES
        ]
        self._jobs = (await self._ask("POST", "/v1/jobs", orders))["data"]

    async def look(self) -> None:
        self._jobs = [await self._ask("GET", f"/v1/jobs/{job['id']}") for job in self._jobs]
        self._callbacks = (await self._ask("GET", "/v1/callbacks?limit=100"))["data"]

    async def _ask(self, method: str, path: str, body: Any = None) -> Json:
        response = await self._client.request(method, path, json=body)
        response.raise_for_status()
        return dict(response.json())

    @property
    def over(self) -> bool:
        """Every job has ended, and the subscriber knows of it."""
        return all(
            job["status"] in _ENDS and f"job.{job['status']}" in self._told(job)
            for job in self._jobs
        )

    def _told(self, job: Json) -> list[str]:
        return self._subscriber.events[job["id"]]

    def table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("provider", "what it shows", "state", "progress", "in", "out"):
            table.add_column(name, no_wrap=True)
        table.caption = "in: callbacks from the provider · out: webhooks verified by the subscriber"
        for scene, job in zip(DEMO_CASES, self._jobs, strict=True):
            table.add_row(*self._row(scene, job))
        return table

    def _row(self, scene: DemoCase, job: Json) -> tuple[str, ...]:
        state, ratio = job["status"], job["progress"]["ratio"]
        colour = _COLOURS.get(state, "yellow")
        bar = "" if ratio is None else f"{ratio:.0%}"
        why = f": {job['error']['code']}" if job["error"] else ""
        came = [one for one in self._callbacks if one["job"] == job["id"]]
        repeats = sum(one["repeats"] for one in came)
        counted = f"{len(came)}" + (f"+{repeats}" if repeats else "")
        return (
            scene.provider,
            scene.shows,
            f"[{colour}]{state}{why}[/{colour}]",
            bar,
            counted if came else "",
            str(len(self._told(job))) if self._told(job) else "",
        )

    async def errors(self) -> list[str]:
        """Say what did not go as it should."""
        errors = [
            f"{scene.shows}: ended as {job['status']}, not {scene.end}"
            for scene, job in zip(DEMO_CASES, self._jobs, strict=True)
            if job["status"] != scene.end or self._told(job).count(f"job.{scene.end}") != 1
        ]
        if self._subscriber.unverified:
            errors.append(f"{self._subscriber.unverified} webhooks were wrongly signed")
        return errors + await self._verdict_faults() + await self._polling_faults()

    async def _verdict_faults(self) -> list[str]:
        metrics = (await self._client.get("/metrics")).text
        return [
            f"{scene.shows}: no callback was judged {scene.verdict}"
            for scene in DEMO_CASES
            if scene.verdict and not _counted(metrics, scene.verdict)
        ]

    async def _polling_faults(self) -> list[str]:
        async with httpx.AsyncClient() as client:
            asked = (await client.get(f"{self._sandbox}/ledger")).json()["requests"]
        polls = [name for name in asked if "tasks" in name or "getResponse" in name]
        return [f"a provider was polled: {name}" for name in polls]

    def verdict(self, errors: list[str]) -> str:
        if errors:
            return f"[red]{len(errors)} things went wrong.[/red]"
        sent = sum(len(told) for told in self._subscriber.events.values())
        return (
            f"All {len(DEMO_CASES)} jobs ended as expected. {sent} signed webhooks arrived and "
            f"were verified, after the receiver was down for {self._subscriber.refused} requests. "
            "No polling."
        )


def _counted(metrics: str, verdict: str) -> bool:
    lines = [line for line in metrics.splitlines() if f'verdict="{verdict}"' in line]
    return any(float(line.rpartition(" ")[2]) > 0 for line in lines if "_total{" in line)
