"""The demo run: ten jobs, their expected and their actual ends."""

from typing import Any, Final

import httpx
import msgspec
from rich import box
from rich.table import Table

from service.cli.demo.receiver import DemoReceiver
from service.sandbox import EXAMPLE_ASSET

Json = dict[str, Any]
_CAPTION: Final = {"inputImage": "5788104a-1ca7-4b7e-8a16-b27b57e86f87", "model": "runware:150@2"}
_COLOURS: Final = {"succeeded": "green", "failed": "red", "running": "cyan"}
_FINAL_STATUSES: Final = ("succeeded", "failed", "canceled", "expired")


class DemoCase(msgspec.Struct, frozen=True):
    """One job with its expected final status.

    *verdict* is what the service must say of at least one of the job's callbacks, if it is set.
    """

    title: str
    provider: str
    operation: str
    input: Json
    status: str = "succeeded"
    verdict: str | None = None


DEMO_CASES: Final = (
    DemoCase("progress, then four images", "useapi", "frames.create",
          {"text_prompt": "a lighthouse"}),
    DemoCase("callback sent three times", "useapi", "frames.create",
          {"text_prompt": "a storm [dup 3]"}, verdict="repeated"),
    DemoCase("forged callback first", "useapi", "frames.create",
          {"text_prompt": "a keeper [forged]"}, verdict="forged"),
    DemoCase("moderated prompt", "useapi", "frames.create",
          {"text_prompt": "a wreck [moderated]"}, status="failed"),
    DemoCase("provider busy at first", "useapi", "frames.create",
          {"text_prompt": "a gull [429 1 after 1]"}),
    DemoCase("image description", "useapi", "frames.describe", {"image_assetId": EXAMPLE_ASSET}),
    DemoCase("two captions, one request", "runware", "imageCaption", _CAPTION),
    DemoCase("callback without envelope", "runware", "imageCaption",
          {**_CAPTION, "prompt": "What is this? [flat]"}),
    DemoCase("API without callbacks", "runway_ai", "generate-image", {"prompt": "a lighthouse"}),
    DemoCase("webhooks with a signature", "replicate", "predictions.create",
          {"model": "black-forest-labs/flux-schnell", "input": {"prompt": "a lighthouse"}}),
)  # fmt: skip


class DemoRun:
    """Submits the demo cases to the service, shows their states and checks the results.

    *client* sends requests to the service; *sandbox_url* is the emulated providers' base URL.
    """

    def __init__(self, client: httpx.AsyncClient, sandbox_url: str, receiver: DemoReceiver) -> None:
        self._client, self.sandbox_url, self._receiver = client, sandbox_url, receiver
        self._jobs: list[Json] = []
        self._callbacks: list[Json] = []

    async def submit(self, receiver_url: str) -> None:
        """Subscribe *receiver_url* to all job events, then submit all jobs in one request.

        Runware's two jobs go to Runware in one array.
        """
        subscription = await self._request(
            "POST", "/v1/subscriptions", {"url": receiver_url, "event_types": ["job.*"]}
        )
        self._receiver.secret = subscription["secret"]
        requests = [
            {"provider": case.provider, "operation": case.operation, "input": case.input}
            for case in DEMO_CASES
        ]
        self._jobs = (await self._request("POST", "/v1/jobs", requests))["data"]

    async def refresh(self) -> None:
        """Fetch the current jobs and callbacks from the service."""
        self._jobs = [await self._request("GET", f"/v1/jobs/{job['id']}") for job in self._jobs]
        self._callbacks = (await self._request("GET", "/v1/callbacks?limit=100"))["data"]

    async def _request(self, method: str, path: str, body: Any = None) -> Json:
        response = await self._client.request(method, path, json=body)
        response.raise_for_status()
        return dict(response.json())

    @property
    def finished(self) -> bool:
        """Whether every job has ended and the receiver has got the final event of each."""
        return all(
            job["status"] in _FINAL_STATUSES and f"job.{job['status']}" in self._webhooks(job)
            for job in self._jobs
        )

    def _webhooks(self, job: Json) -> list[str]:
        """List the types of the events about *job* that the receiver has verified."""
        return self._receiver.events[job["id"]]

    def table(self) -> Table:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for name in ("provider", "case", "status", "progress", "in", "out"):
            table.add_column(name, no_wrap=True)
        table.caption = (
            "in: callbacks received by the service · out: webhooks verified by the receiver"
        )
        for case, job in zip(DEMO_CASES, self._jobs, strict=True):
            table.add_row(*self._row(case, job))
        return table

    def _row(self, case: DemoCase, job: Json) -> tuple[str, ...]:
        status, ratio = job["status"], job["progress"]["ratio"]
        colour = _COLOURS.get(status, "yellow")
        error = f": {job['error']['code']}" if job["error"] else ""
        callbacks = [callback for callback in self._callbacks if callback["job"] == job["id"]]
        repeats = sum(callback["repeats"] for callback in callbacks)
        received = f"{len(callbacks)}" if callbacks else ""
        if repeats:
            received += f"+{repeats}"
        verified = len(self._webhooks(job))
        return (
            case.provider,
            case.title,
            f"[{colour}]{status}{error}[/{colour}]",
            "" if ratio is None else f"{ratio:.0%}",
            received,
            str(verified) if verified else "",
        )

    async def find_errors(self) -> list[str]:
        """Compare the results with the demo cases; return one message per difference."""
        errors = [
            f"{case.title}: ended as {job['status']}, expected {case.status}"
            for case, job in zip(DEMO_CASES, self._jobs, strict=True)
            if job["status"] != case.status or self._webhooks(job).count(f"job.{case.status}") != 1
        ]
        if self._receiver.unverified:
            errors.append(f"{self._receiver.unverified} webhooks had an invalid signature")
        metrics = (await self._client.get("/metrics")).text
        errors += [
            f"{case.title}: no callback had the verdict {case.verdict}"
            for case in DEMO_CASES
            if case.verdict and not _has_verdict(metrics, case.verdict)
        ]
        async with httpx.AsyncClient() as client:
            requests = (await client.get(f"{self.sandbox_url}/ledger")).json()["requests"]
        errors += [
            f"a provider was polled: {name}"
            for name in requests
            if "tasks" in name or "getResponse" in name or "GET /replicate/v1/predictions" in name
        ]
        return errors

    def artifact_url(self) -> str:
        """Return the URL of the first artifact, which a browser can open; empty without any."""
        outputs = (job["output"] for job in self._jobs if job["output"])
        urls = (artifact["url"] for output in outputs for artifact in output["artifacts"])
        return next(urls, "")

    def summary(self, errors: list[str]) -> str:
        if errors:
            return f"[red]{len(errors)} checks failed.[/red]"
        verified = sum(len(events) for events in self._receiver.events.values())
        return (
            f"All {len(DEMO_CASES)} jobs ended as expected, and no provider was polled.\n"
            f"The receiver rejected {self._receiver.rejected} requests at first, "
            f"then verified {verified} signed webhooks."
        )


def _has_verdict(metrics: str, verdict: str) -> bool:
    """Tell whether a counter with the label *verdict* is above zero in the Prometheus text."""
    lines = [line for line in metrics.splitlines() if f'verdict="{verdict}"' in line]
    return any(float(line.rpartition(" ")[2]) > 0 for line in lines if "_total{" in line)
