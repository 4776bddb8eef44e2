"""The registry of providers: a package beside this file and one line in `registry` each."""

from collections.abc import Mapping

from service.providers.protocol import Provider


def registry() -> Mapping[str, Provider]:
    """All providers by name."""
    from service.providers.runware.provider import Runware
    from service.providers.runway_ai.provider import RunwayAi
    from service.providers.useapi.provider import UseApi

    return {provider.name: provider for provider in (UseApi(), Runware(), RunwayAi())}


def providers_with_callbacks() -> list[str]:
    """Name the providers that end some of their work with a callback."""
    return [name for name, provider in registry().items() if _calls_back(provider)]


def _calls_back(provider: Provider) -> bool:
    return not all(operation.answers_immediately for operation in provider.operations.values())
