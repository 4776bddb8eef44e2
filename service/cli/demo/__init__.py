"""`belfry demo`: the whole service with emulated providers."""
