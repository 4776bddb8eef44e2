"""The `belfry` command: serves, and talks to a service over HTTP."""

import sys

import click


@click.group()
@click.version_option(package_name="belfry")
def main() -> None:
    """The reply address for AI media jobs."""


@main.command()
def serve() -> None:
    """Run the service; settings come from the environment."""
    from service.__main__ import main as run

    sys.exit(run())
