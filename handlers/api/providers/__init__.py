"""Endpoints below /v1/providers: the catalog, and the assets at each provider."""
