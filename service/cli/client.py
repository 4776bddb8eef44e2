"""Commands that talk to a running service; BELFRY_URL and BELFRY_KEY say to which and as whom."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypedDict

import click

if TYPE_CHECKING:
    import httpx  # loading it takes longer than most commands need

Json = dict[str, Any]


class StreamPosition(TypedDict):
    """Where a broken stream goes on."""

    last: str


@contextmanager
def _client() -> Iterator["httpx.Client"]:
    """Talk to the service; what it refuses is told as sentences, not as a traceback."""
    import os

    import httpx

    url, key = os.environ.get("BELFRY_URL", "http://127.0.0.1:8080"), os.environ.get("BELFRY_KEY")
    if not key:
        raise click.ClickException("Set BELFRY_KEY to your API key.")
    try:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
            yield client
    except httpx.TransportError as exc:
        raise click.ClickException(f"No service answers at {url} ({exc}).") from exc


def _json(response: "httpx.Response") -> Json:
    if response.is_success:
        return dict(response.json())
    try:
        problem = response.json()
    except ValueError:
        raise click.ClickException(f"HTTP {response.status_code}") from None
    lines = [problem["detail"], *(f"  {e['path']}: {e['message']}" for e in problem["errors"])]
    raise click.ClickException("\n".join(lines))


def _show(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _given(pairs: tuple[str, ...]) -> Json:
    """Read `name=value`; a value that is JSON is taken as such, any other as text."""
    given: Json = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not name=value")
        try:
            given[name] = json.loads(text)
        except ValueError:
            given[name] = text
    return given


@click.command()
@click.argument("provider")
@click.argument("operation")
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reply-url", help="Where to send the end of this job.")
@click.option("--follow", is_flag=True, help="Print the job's events until it ends.")
def submit(
    provider: str,
    operation: str,
    inputs: tuple[str, ...],
    reply_url: str | None,
    *,
    follow: bool,
) -> None:
    """Submit a job: belfry submit useapi frames.create text_prompt="a lighthouse"."""
    order: Json = {"provider": provider, "operation": operation, "input": _given(inputs)}
    if reply_url is not None:
        order["reply_url"] = reply_url
    with _client() as client:
        job = _json(client.post("/v1/jobs", json=order))
        _show(job)
        if follow:
            _follow(client, f"/v1/jobs/{job['id']}/stream", {})


@click.command("job")
@click.argument("job_id")
def show_job(job_id: str) -> None:
    """Look at one job."""
    with _client() as client:
        _show(_json(client.get(f"/v1/jobs/{job_id}")))


@click.command("jobs")
@click.option("--status", help="queued, submitted, running, succeeded, failed, …")
@click.option("--provider")
@click.option("--tag")
@click.option("--limit", default=20, show_default=True)
def list_jobs(status: str | None, provider: str | None, tag: str | None, limit: int) -> None:
    """List jobs, newest first."""
    asked = {"status": status, "provider": provider, "tag": tag, "limit": limit}
    with _client() as client:
        query = {name: value for name, value in asked.items() if value is not None}
        for job in _json(client.get("/v1/jobs", params=query))["data"]:
            click.echo(f"{job['id']}  {job['status']:<10} {job['provider']} {job['operation']}")


@click.command()
@click.option(
    "--event-types", default="*", show_default=True, help="job.succeeded,job.failed, job.*"
)
def listen(event_types: str) -> None:
    """Follow all events as they happen, one line each; resumes when the connection breaks."""
    with _client() as client:
        _follow(client, "/v1/stream", {"event_types": event_types}, endless=True)


@click.command()
@click.argument("url")
@click.option("--events", multiple=True, help="A type or pattern; may be given several times.")
def subscribe(url: str, events: tuple[str, ...]) -> None:
    """Send events to URL, signed with the secret that is shown."""
    body: Json = {"url": url} | ({"event_types": list(events)} if events else {})
    with _client() as client:
        _show(_json(client.post("/v1/subscriptions", json=body)))


def _follow(
    client: "httpx.Client", path: str, query: dict[str, str], *, endless: bool = False
) -> None:
    import time

    import httpx

    place = StreamPosition(last="")
    while True:
        try:
            _print_events(client, path, query, place)
        except httpx.TransportError:
            click.echo("(the connection broke; going on)", err=True)
        else:
            if not endless:
                return
        time.sleep(1)


def _print_events(
    client: "httpx.Client", path: str, query: dict[str, str], place: StreamPosition
) -> None:
    headers = {"last-event-id": place["last"]} if place["last"] else {}
    with client.stream("GET", path, params=query, headers=headers, timeout=60) as response:
        if not response.is_success:
            response.read()
            _json(response)
        for line in response.iter_lines():
            if line.startswith("id: "):
                place["last"] = line.removeprefix("id: ")
            elif line.startswith("data: "):
                click.echo(_line(json.loads(line.removeprefix("data: "))))


def _line(event: Json) -> str:
    job = event["data"]
    ratio = job["progress"]["ratio"]
    how = "" if ratio is None else f"{ratio:.0%}"
    why = job["error"]["message"] if job["error"] else ""
    words = (event["timestamp"], event["type"].ljust(13), job["id"], job["provider"], how, why)
    return " ".join(word for word in words if word)
