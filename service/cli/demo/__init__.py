"""`belfry demo`: the service with emulated providers and a webhook receiver."""
