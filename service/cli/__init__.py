"""The `belfry` command: runs the service and the sandbox, and talks to a service over HTTP."""

import sys

import click

from service.cli.client import list_jobs, listen, show_job, submit, subscribe
from service.cli.migrate_store import migrate_store


@click.group()
@click.version_option(package_name="belfry")
def main() -> None:
    """The reply address for AI media jobs."""


@main.command()
@click.option(
    "--role",
    type=click.Choice(["all", "web", "worker"]),
    default="all",
    show_default=True,
    help="web: API, streams, callbacks. worker: jobs, deliveries, deadlines. For PostgreSQL.",
)
def serve(role: str) -> None:
    """Run the service; its settings come from the environment."""
    from service.cli.serve import main as run
    from service.runtime.settings import Role

    sys.exit(run(Role(role)))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True)
@click.option("--pace", default=1.0, show_default=True, help="Scales every delay.")
def sandbox(host: str, port: int, pace: float) -> None:
    """Serve the providers, emulated: no account, no money."""
    from service.cli.sandbox import run

    run(host, port, pace)


@main.command()
@click.option("--once", is_flag=True, help="End when all jobs have; 0 if all went as it should.")
def demo(*, once: bool) -> None:
    """Show the whole story: service, sandbox and a subscriber on free ports."""
    from service.cli.demo.command import run

    sys.exit(run(once=once))


@main.command()
def doctor() -> None:
    """Find what is wrong with the settings, the service or its way to the providers."""
    from service.cli.doctor.command import run

    sys.exit(run())


for command in (submit, show_job, list_jobs, listen, subscribe, migrate_store):
    main.add_command(command)
