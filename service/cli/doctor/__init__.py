"""`belfry doctor`: checks settings, providers and callbacks."""
