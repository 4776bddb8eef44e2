"""`belfry sandbox`: runs the emulated providers on one port."""

import click
import uvicorn

from service.sandbox import Tokens, create_sandbox


def settings_for(url: str) -> dict[str, str]:
    """Return the environment variables that make a service use the sandbox at *url*."""
    tokens = Tokens()
    return {
        "USEAPI_TOKEN": tokens.useapi,
        "USEAPI_BASE_URL": f"{url}/v1/runwayml",
        "RUNWARE_API_KEY": tokens.runware,
        "RUNWARE_BASE_URL": f"{url}/v1",
        "RUNWAY_AI_API_KEY": tokens.runway_ai,
        "RUNWAY_AI_BASE_URL": url,
        "USEAPI_SERVICES_BASE_URL": url,
        "FAL_KEY": tokens.fal,
        "FAL_BASE_URL": f"{url}/fal",
        "FAL_KEYS_URL": f"{url}/fal/.well-known/jwks.json",
        "IDEOGRAM_API_KEY": tokens.ideogram,
        "IDEOGRAM_BASE_URL": f"{url}/ideogram",
        "IDEOGRAM_KEYS_URL": f"{url}/ideogram/v1/.well-known/jwks.json",
        "LEONARDO_API_KEY": tokens.leonardo,
        "LEONARDO_BASE_URL": f"{url}/leonardo/v1",
        "RUNWAYML_API_SECRET": tokens.runway,
        "RUNWAYML_BASE_URL": f"{url}/runway/v1",
        "REPLICATE_API_TOKEN": tokens.replicate,
        "REPLICATE_BASE_URL": f"{url}/replicate/v1",
        "LUMA_API_KEY": tokens.luma,
        "LUMA_BASE_URL": f"{url}/dream-machine/v1",
    }


def run(host: str, port: int, pace: float) -> None:
    """Serve the sandbox until a signal; *pace* multiplies every delay."""
    url = f"http://{host}:{port}"
    click.echo(f"Emulated providers: {url}  (the page lists the prompt directives)")
    click.echo("Settings for the service:")
    for name, value in settings_for(url).items():
        click.echo(f"  export {name}={value}")
    uvicorn.run(
        create_sandbox(pace=pace),
        host=host,
        port=port,
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=1,  # requests with the directive [hang] would delay the exit
    )
