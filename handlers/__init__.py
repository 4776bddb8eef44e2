"""Belfry listens here. `DOORS` and `routes` are the whole URL map."""

from typing import Final

from starlette.routing import Route

from handlers import (
    actions,
    callbacks,
    deliveries,
    events,
    health,
    jobs,
    keys,
    operations,
    stream,
    subscriptions,
)
from handlers.actions import Recover
from handlers.doors import Door
from handlers.openapi import pages
from handlers.subscriptions import Change, NewSubscription
from service.keys import Scope
from service.orders import Order

_READ, _WRITE = Scope.JOBS_READ, Scope.JOBS_WRITE
_SUBSCRIBE, _ADMIN = Scope.SUBSCRIPTIONS_WRITE, Scope.ADMIN


DOORS: Final = (
    Door("POST", "/v1/jobs", jobs.submit, _WRITE, 202, (Order, list[Order])),
    Door("GET", "/v1/jobs", jobs.listing, _READ),
    Door("GET", "/v1/jobs/{id}", jobs.show, _READ),
    Door("POST", "/v1/jobs/{id}/cancel", jobs.cancel, _WRITE),
    Door("POST", "/v1/jobs/{id}/retry", jobs.retry, _WRITE, 202),
    Door("GET", "/v1/jobs/{id}/events", events.of_job, _READ),
    Door("GET", "/v1/jobs/{id}/stream", stream.of_job, _READ),
    Door("GET", "/v1/stream", stream.everything, _READ),
    Door("GET", "/v1/events", events.listing, _READ),
    Door("GET", "/v1/events/{id}", events.show, _READ),
    Door("POST", "/v1/events/{id}/resend", events.resend, _SUBSCRIBE, 202, events.Resend),
    Door("GET", "/v1/events/{id}/subscriptions", events.matched, _READ),
    Door("GET", "/v1/event-types", events.types, _READ),
    Door("POST", "/v1/subscriptions", subscriptions.create, _SUBSCRIBE, 201, NewSubscription),
    Door("GET", "/v1/subscriptions", subscriptions.listing, _READ),
    Door("GET", "/v1/subscriptions/{id}", subscriptions.show, _READ),
    Door("PATCH", "/v1/subscriptions/{id}", subscriptions.change, _SUBSCRIBE, 200, Change),
    Door("DELETE", "/v1/subscriptions/{id}", subscriptions.delete, _SUBSCRIBE, 204),
    Door("GET", "/v1/subscriptions/{id}/secret", subscriptions.secret, _SUBSCRIBE),
    Door("POST", "/v1/subscriptions/{id}/pause", actions.pause, _SUBSCRIBE),
    Door("POST", "/v1/subscriptions/{id}/resume", actions.resume, _SUBSCRIBE),
    Door("POST", "/v1/subscriptions/{id}/rotate-secret", actions.rotate_secret, _SUBSCRIBE),
    Door("POST", "/v1/subscriptions/{id}/test", actions.test, _SUBSCRIBE),
    Door("POST", "/v1/subscriptions/{id}/recover", actions.recover, _SUBSCRIBE, 202, Recover),
    Door("GET", "/v1/operations", operations.listing, _READ),
    Door("GET", "/v1/operations/{id}", operations.show, _READ),
    Door("POST", "/v1/operations/{id}/cancel", operations.cancel, _SUBSCRIBE),
    Door("GET", "/v1/deliveries", deliveries.listing, _READ),
    Door("GET", "/v1/dead-letters", deliveries.dead_letters, _READ),
    Door("GET", "/v1/deliveries/{id}", deliveries.show, _READ),
    Door("POST", "/v1/deliveries/{id}/retry", deliveries.retry, _SUBSCRIBE),
    Door("GET", "/v1/callbacks", callbacks.listing, _READ),
    Door("GET", "/v1/callbacks/{id}", callbacks.show, _READ),
    Door("POST", "/v1/callbacks/{id}/replay", callbacks.replay, _WRITE),
    Door("POST", "/v1/keys", keys.create, _ADMIN, 201, keys.NewKey),
    Door("GET", "/v1/keys", keys.listing, _ADMIN),
    Door("DELETE", "/v1/keys/{id}", keys.delete, _ADMIN, 204),
    Door("GET", "/v1/providers", health.providers, _READ),
)


def health_routes() -> list[Route]:
    """Whether a process is well: all that a worker shows."""
    return [
        Route("/livez", health.alive),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


def routes() -> list[Route]:
    """The hot path first: routes are tried in their order."""
    document, page = pages(DOORS)
    return [
        Route("/callbacks/{provider}/{ref}", callbacks.Receiver()),
        Route("/callbacks/{rest:path}", callbacks.Receiver()),
        *health_routes(),
        Route("/openapi.json", document),
        Route("/docs", page),
        *(door.route() for door in DOORS),
    ]
