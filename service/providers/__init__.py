"""The registry of providers. Each provider is a package in this folder and a line in `registry`."""

from collections.abc import Mapping

from service.providers.protocol import Provider


def registry() -> Mapping[str, Provider]:
    """All providers by name."""
    from service.providers.fal.provider import Fal
    from service.providers.ideogram.provider import Ideogram
    from service.providers.leonardo.provider import Leonardo
    from service.providers.luma.provider import Luma
    from service.providers.replicate.provider import Replicate
    from service.providers.runware.provider import Runware
    from service.providers.runway.provider import Runway
    from service.providers.runway_ai.provider import RunwayAi
    from service.providers.useapi.provider import UseApi
    from service.providers.useapi_services.provider import UseApiServices

    found: tuple[Provider, ...] = (
        UseApi(),
        Runware(),
        RunwayAi(),
        UseApiServices(),
        Fal(),
        Ideogram(),
        Leonardo(),
        Runway(),
        Replicate(),
        Luma(),
    )
    return {provider.name: provider for provider in found}


def providers_with_callbacks() -> list[str]:
    """Name the providers that call a URL of ours."""
    return [name for name, provider in registry().items() if provider.callbacks is not None]
