"""The HTTP interface. `DOORS` and `routes` are the whole URL map."""

from typing import Final

from starlette.routing import Route

from handlers import health
from handlers.api import (
    api_keys,
    callbacks,
    deliveries,
    events,
    jobs,
    providers,
    recoveries,
    stream,
    subscription_actions,
    subscriptions,
)
from handlers.callback_endpoint import CallbackEndpoint
from handlers.http.endpoint import Endpoint
from handlers.openapi import pages
from handlers.schemas.api_keys import ApiKeyCreate
from handlers.schemas.events import EventResend
from handlers.schemas.subscriptions import RecoveryCreate, SubscriptionCreate, SubscriptionUpdate
from service.domain.security.api_keys import Scope
from service.transactions.job_request import JobRequest

_READ, _WRITE = Scope.JOBS_READ, Scope.JOBS_WRITE
_SUBSCRIBE, _ADMIN = Scope.SUBSCRIPTIONS_WRITE, Scope.ADMIN


ENDPOINTS: Final = (
    Endpoint(
        "POST", "/v1/jobs", "submitJob", jobs.submit, _WRITE, 202, (JobRequest, list[JobRequest])
    ),
    Endpoint("GET", "/v1/jobs", "listJobs", jobs.listing, _READ),
    Endpoint("GET", "/v1/jobs/{id}", "getJob", jobs.show, _READ),
    Endpoint("POST", "/v1/jobs/{id}/cancel", "cancelJob", jobs.cancel, _WRITE),
    Endpoint("POST", "/v1/jobs/{id}/retry", "retryJob", jobs.retry, _WRITE, 202),
    Endpoint("GET", "/v1/jobs/{id}/events", "listJobEvents", events.list_of_job, _READ),
    Endpoint("GET", "/v1/jobs/{id}/stream", "streamJob", stream.stream_job, _READ),
    Endpoint("GET", "/v1/stream", "streamEvents", stream.stream_all, _READ),
    Endpoint("GET", "/v1/events", "listEvents", events.listing, _READ),
    Endpoint("GET", "/v1/events/{id}", "getEvent", events.show, _READ),
    Endpoint(
        "POST",
        "/v1/events/{id}/resend",
        "resendEvent",
        events.resend,
        _SUBSCRIBE,
        202,
        EventResend,
    ),
    Endpoint(
        "GET", "/v1/events/{id}/subscriptions", "listEventSubscriptions", events.list_matches, _READ
    ),
    Endpoint("GET", "/v1/event-types", "listEventTypes", events.list_types, _READ),
    Endpoint(
        "POST",
        "/v1/subscriptions",
        "createSubscription",
        subscriptions.create,
        _SUBSCRIBE,
        201,
        SubscriptionCreate,
    ),
    Endpoint("GET", "/v1/subscriptions", "listSubscriptions", subscriptions.listing, _READ),
    Endpoint("GET", "/v1/subscriptions/{id}", "getSubscription", subscriptions.show, _READ),
    Endpoint(
        "PATCH",
        "/v1/subscriptions/{id}",
        "updateSubscription",
        subscriptions.change,
        _SUBSCRIBE,
        200,
        SubscriptionUpdate,
    ),
    Endpoint(
        "DELETE",
        "/v1/subscriptions/{id}",
        "deleteSubscription",
        subscriptions.delete,
        _SUBSCRIBE,
        204,
    ),
    Endpoint(
        "GET",
        "/v1/subscriptions/{id}/secret",
        "getSubscriptionSecret",
        subscriptions.secret,
        _SUBSCRIBE,
    ),
    Endpoint(
        "POST",
        "/v1/subscriptions/{id}/pause",
        "pauseSubscription",
        subscription_actions.pause,
        _SUBSCRIBE,
    ),
    Endpoint(
        "POST",
        "/v1/subscriptions/{id}/resume",
        "resumeSubscription",
        subscription_actions.resume,
        _SUBSCRIBE,
    ),
    Endpoint(
        "POST",
        "/v1/subscriptions/{id}/rotate-secret",
        "rotateSubscriptionSecret",
        subscription_actions.rotate_secret,
        _SUBSCRIBE,
    ),
    Endpoint(
        "POST",
        "/v1/subscriptions/{id}/test",
        "testSubscription",
        subscription_actions.test,
        _SUBSCRIBE,
    ),
    Endpoint(
        "POST",
        "/v1/subscriptions/{id}/recover",
        "recoverSubscription",
        subscription_actions.recover,
        _SUBSCRIBE,
        202,
        RecoveryCreate,
    ),
    Endpoint("GET", "/v1/recoveries", "listRecoveries", recoveries.listing, _READ),
    Endpoint("GET", "/v1/recoveries/{id}", "getRecovery", recoveries.show, _READ),
    Endpoint("POST", "/v1/recoveries/{id}/cancel", "cancelRecovery", recoveries.cancel, _SUBSCRIBE),
    Endpoint("GET", "/v1/deliveries", "listDeliveries", deliveries.listing, _READ),
    Endpoint("GET", "/v1/dead-letters", "listDeadLetters", deliveries.dead_letters, _READ),
    Endpoint("GET", "/v1/deliveries/{id}", "getDelivery", deliveries.show, _READ),
    Endpoint("POST", "/v1/deliveries/{id}/retry", "retryDelivery", deliveries.retry, _SUBSCRIBE),
    Endpoint("GET", "/v1/callbacks", "listCallbacks", callbacks.listing, _READ),
    Endpoint("GET", "/v1/callbacks/{id}", "getCallback", callbacks.show, _READ),
    Endpoint("POST", "/v1/callbacks/{id}/replay", "replayCallback", callbacks.replay, _WRITE),
    Endpoint("POST", "/v1/keys", "createApiKey", api_keys.create, _ADMIN, 201, ApiKeyCreate),
    Endpoint("GET", "/v1/keys", "listApiKeys", api_keys.listing, _ADMIN),
    Endpoint("DELETE", "/v1/keys/{id}", "deleteApiKey", api_keys.delete, _ADMIN, 204),
    Endpoint("GET", "/v1/providers", "listProviders", providers.providers, _READ),
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
    document, page = pages(ENDPOINTS)
    return [
        Route("/callbacks/{provider}/{ref}", CallbackEndpoint()),
        Route("/callbacks/{rest:path}", CallbackEndpoint()),
        *health_routes(),
        Route("/openapi.json", document),
        Route("/docs", page),
        *(endpoint.route() for endpoint in ENDPOINTS),
    ]
