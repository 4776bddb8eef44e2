"""The benchmark: what Belfry reaches of what one core could do, as ratios measured in one run."""
