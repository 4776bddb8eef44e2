"""Commands that send requests to the service at BELFRY_URL with the API key in BELFRY_KEY."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import httpx  # importing it takes longer than most commands need

Json = dict[str, Any]

_RECONNECT_SECONDS = 1


@contextmanager
def _open_client() -> Iterator["httpx.Client"]:
    """Open an HTTP client for the service; raise ClickException if the service is unreachable."""
    import os

    import httpx

    url, key = os.environ.get("BELFRY_URL", "http://127.0.0.1:8080"), os.environ.get("BELFRY_KEY")
    if not key:
        raise click.ClickException("Set BELFRY_KEY to your API key.")
    try:
        with httpx.Client(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
            yield client
    except httpx.TransportError as exc:
        raise click.ClickException(f"Cannot reach the service at {url} ({exc}).") from exc


def _read_json(response: "httpx.Response") -> Json:
    """Return the body; raise ClickException with the problem's details for an error status."""
    if response.is_success:
        return dict(response.json())
    try:
        problem = response.json()
    except ValueError:
        raise click.ClickException(f"HTTP {response.status_code}") from None
    lines = [problem["detail"], *(f"  {e['path']}: {e['message']}" for e in problem["errors"])]
    raise click.ClickException("\n".join(lines))


def _print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _parse_inputs(pairs: tuple[str, ...]) -> Json:
    """Parse `name=value` pairs; a value that is not JSON is text."""
    inputs: Json = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not name=value")
        try:
            inputs[name] = json.loads(text)
        except ValueError:
            inputs[name] = text
    return inputs


@click.command()
@click.argument("provider")
@click.argument("operation")
@click.argument("inputs", nargs=-1, metavar="[NAME=VALUE]...")
@click.option("--reply-url", help="URL that receives a webhook for each event of the job.")
@click.option("--follow", is_flag=True, help="Print the job's events until it ends.")
def submit(
    provider: str,
    operation: str,
    inputs: tuple[str, ...],
    reply_url: str | None,
    *,
    follow: bool,
) -> None:
    """Submit a job and print it as JSON.

    Example: belfry submit useapi frames.create text_prompt="a lighthouse"

    NAME=VALUE sets a field of the job's input. A VALUE that is valid JSON is sent as JSON, any
    other as text.
    """
    request: Json = {"provider": provider, "operation": operation, "input": _parse_inputs(inputs)}
    if reply_url is not None:
        request["reply_url"] = reply_url
    with _open_client() as client:
        job = _read_json(client.post("/v1/jobs", json=request))
        _print_json(job)
        if follow:
            _print_stream(client, f"/v1/jobs/{job['id']}/stream", {})


@click.command("job")
@click.argument("job_id")
def show_job(job_id: str) -> None:
    """Print one job as JSON."""
    with _open_client() as client:
        _print_json(_read_json(client.get(f"/v1/jobs/{job_id}")))


@click.command("jobs")
@click.option("--status", help="Only jobs in this status: queued, running, succeeded, failed, …")
@click.option("--provider", help="Only jobs of this provider.")
@click.option("--tag", help="Only jobs with this tag.")
@click.option("--limit", default=20, show_default=True, help="Maximum number of jobs.")
def list_jobs(status: str | None, provider: str | None, tag: str | None, limit: int) -> None:
    """List jobs, newest first.

    Prints one line per job: id, status, provider and operation.
    """
    filters = {"status": status, "provider": provider, "tag": tag, "limit": limit}
    query = {name: value for name, value in filters.items() if value is not None}
    with _open_client() as client:
        for job in _read_json(client.get("/v1/jobs", params=query))["data"]:
            click.echo(f"{job['id']}  {job['status']:<10} {job['provider']} {job['operation']}")


@click.command()
@click.option(
    "--event-types",
    default="*",
    show_default=True,
    help="Comma-separated types or patterns, for example job.succeeded,job.failed or job.*",
)
def listen(event_types: str) -> None:
    """Print events live, one line each.

    After a connection loss it reconnects and resumes with the next event.
    """
    with _open_client() as client:
        _print_stream(client, "/v1/stream", {"event_types": event_types}, endless=True)


@click.command()
@click.argument("url")
@click.option(
    "--events",
    multiple=True,
    help="Event type or pattern, for example job.*; may be given several times. "
    "Default: the events that end a job.",
)
def subscribe(url: str, events: tuple[str, ...]) -> None:
    """Create a subscription that sends events to URL as webhooks.

    Prints the subscription as JSON; its secret verifies the signatures of the webhooks.
    """
    body: Json = {"url": url} | ({"event_types": list(events)} if events else {})
    with _open_client() as client:
        _print_json(_read_json(client.post("/v1/subscriptions", json=body)))


def _print_stream(
    client: "httpx.Client", path: str, query: dict[str, str], *, endless: bool = False
) -> None:
    """Print the events of a stream until it ends; if *endless*, connect again and go on.

    Each new connection resumes after the last event (`Last-Event-ID`).
    """
    import time

    import httpx

    last_id = ""
    while True:
        headers = {"last-event-id": last_id} if last_id else {}
        try:
            with client.stream("GET", path, params=query, headers=headers, timeout=60) as response:
                if not response.is_success:
                    response.read()
                    _read_json(response)
                for line in response.iter_lines():
                    if line.startswith("id: "):
                        last_id = line.removeprefix("id: ")
                    elif line.startswith("data: "):
                        click.echo(_format_event(json.loads(line.removeprefix("data: "))))
        except httpx.TransportError:
            click.echo("Connection lost, reconnecting.", err=True)
        else:
            if not endless:
                return
        time.sleep(_RECONNECT_SECONDS)


def _format_event(event: Json) -> str:
    job = event["data"]
    ratio = job["progress"]["ratio"]
    columns = (
        event["timestamp"],
        event["type"].ljust(13),
        job["id"],
        job["provider"],
        "" if ratio is None else f"{ratio:.0%}",
        job["error"]["message"] if job["error"] else "",
    )
    return " ".join(column for column in columns if column)
