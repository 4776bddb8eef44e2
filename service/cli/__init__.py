"""The `belfry` command: runs the service and the sandbox, and sends requests to a service."""

import sys

import click

from service.cli.client import list_jobs, listen, show_job, submit, subscribe
from service.cli.migrate_store import migrate_store


@click.group()
@click.version_option(package_name="belfry")
def main() -> None:
    """Submit AI image and video jobs once; get a signed webhook, a live stream or a status when
    they finish. No polling.

    The commands submit, job, jobs, listen and subscribe send requests to a running service:
    BELFRY_URL is its address (default http://127.0.0.1:8080), BELFRY_KEY your API key.
    """


@main.command()
@click.option(
    "--role",
    type=click.Choice(["all", "web", "worker"]),
    default="all",
    show_default=True,
    help="What to run. web: API, streams, callbacks. worker: jobs, deliveries, deadlines. "
    "Separate roles need PostgreSQL.",
)
def serve(role: str) -> None:
    """Run the service.

    Settings are read from environment variables; the README lists them. SIGINT or SIGTERM stops
    the service gracefully.
    """
    from service.cli.serve import main as run
    from service.runtime.settings import Role

    sys.exit(run(Role(role)))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8090, show_default=True, help="Port to listen on.")
@click.option(
    "--pace",
    default=1.0,
    show_default=True,
    help="Factor for all delays: 0.1 makes tasks ten times faster.",
)
def sandbox(host: str, port: int, pace: float) -> None:
    """Run emulated providers for development.

    They need no account and cost nothing. Prints the settings that make a service use them.
    """
    from service.cli.sandbox import run

    run(host, port, pace)


@main.command()
@click.option(
    "--once",
    is_flag=True,
    help="Stop when all jobs have ended. Exit code: 0 if all ended as expected, else 1.",
)
def demo(*, once: bool) -> None:
    """Run a demo of the service and show its progress.

    Starts the service, the emulated providers and a webhook receiver on free local ports, submits
    ten jobs and shows their states until all have ended. Then runs on until Ctrl-C.
    """
    from service.cli.demo.command import run

    sys.exit(run(once=once))


@main.command()
def doctor() -> None:
    """Check settings, service, callbacks and credentials.

    Run it with the same environment as the service. Prints one line per check, and for each
    problem how to fix it. Costs nothing and prints no secrets. Exit code: 1 if there is an error.
    """
    from service.cli.doctor.command import run

    sys.exit(run())


for command in (submit, show_job, list_jobs, listen, subscribe, migrate_store):
    main.add_command(command)
