"""The registry of the providers that take assets, each with a module in this folder."""

from collections.abc import Mapping

from service.providers.assets.protocol import AssetApi


def asset_apis() -> Mapping[str, AssetApi]:
    """Map the name of each provider that takes assets to its API."""
    from service.providers.assets.runware import RunwareAssets
    from service.providers.assets.useapi import UseApiAssets

    return {"useapi": UseApiAssets(), "runware": RunwareAssets()}
