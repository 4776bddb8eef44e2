"""Belfry decides here: what a job, a callback and an event mean, and what follows from them."""
