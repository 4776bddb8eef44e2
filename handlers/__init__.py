"""The HTTP interface: `ENDPOINTS` and `routes` are the complete URL map.

Handlers are named by what they do, within the module of their object: `list_…`, `get`, `create`,
`update`, `delete`, or the name of the action.
"""

from typing import Final

from starlette.routing import Route

from handlers import health
from handlers.api import (
    api_keys,
    callbacks,
    deliveries,
    events,
    jobs,
    recoveries,
    stream,
    subscription_actions,
    subscriptions,
)
from handlers.api.providers import assets, catalog
from handlers.callback_endpoint import CallbackEndpoint
from handlers.http.endpoint import Endpoint
from handlers.openapi import openapi_handlers
from handlers.schemas.api_keys import ApiKeyCreate
from handlers.schemas.assets import AssetCreate
from handlers.schemas.events import EventResend
from handlers.schemas.job_form import FORM_SCHEMA
from handlers.schemas.subscriptions import RecoveryCreate, SubscriptionCreate, SubscriptionUpdate
from service.domain.security.api_keys import Scope
from service.transactions.job_request import JobRequest

_READ, _WRITE = Scope.JOBS_READ, Scope.JOBS_WRITE
_SUBSCRIBE, _ADMIN = Scope.SUBSCRIPTIONS_WRITE, Scope.ADMIN


ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/v1/jobs",
        "submitJob",
        jobs.submit,
        _WRITE,
        202,
        (JobRequest, list[JobRequest]),
        {"multipart/form-data": FORM_SCHEMA},
    ),
    Endpoint("GET", "/v1/jobs", "listJobs", jobs.list_jobs, _READ),
    Endpoint("GET", "/v1/jobs/{id}", "getJob", jobs.get, _READ),
    Endpoint("POST", "/v1/jobs/{id}/cancel", "cancelJob", jobs.cancel, _WRITE),
    Endpoint("POST", "/v1/jobs/{id}/retry", "retryJob", jobs.retry, _WRITE, 202),
    Endpoint("GET", "/v1/jobs/{id}/events", "listJobEvents", events.list_job_events, _READ),
    Endpoint("GET", "/v1/jobs/{id}/stream", "streamJob", stream.stream_job, _READ),
    Endpoint("GET", "/v1/stream", "streamEvents", stream.stream_all, _READ),
    Endpoint("GET", "/v1/events", "listEvents", events.list_events, _READ),
    Endpoint("GET", "/v1/events/{id}", "getEvent", events.get, _READ),
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
        "GET",
        "/v1/events/{id}/subscriptions",
        "listEventSubscriptions",
        events.list_event_subscriptions,
        _READ,
    ),
    Endpoint("GET", "/v1/event-types", "listEventTypes", events.list_event_types, _READ),
    Endpoint(
        "POST",
        "/v1/subscriptions",
        "createSubscription",
        subscriptions.create,
        _SUBSCRIBE,
        201,
        SubscriptionCreate,
    ),
    Endpoint(
        "GET", "/v1/subscriptions", "listSubscriptions", subscriptions.list_subscriptions, _READ
    ),
    Endpoint("GET", "/v1/subscriptions/{id}", "getSubscription", subscriptions.get, _READ),
    Endpoint(
        "PATCH",
        "/v1/subscriptions/{id}",
        "updateSubscription",
        subscriptions.update,
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
        subscriptions.get_secret,
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
    Endpoint("GET", "/v1/recoveries", "listRecoveries", recoveries.list_recoveries, _READ),
    Endpoint("GET", "/v1/recoveries/{id}", "getRecovery", recoveries.get, _READ),
    Endpoint("POST", "/v1/recoveries/{id}/cancel", "cancelRecovery", recoveries.cancel, _SUBSCRIBE),
    Endpoint("GET", "/v1/deliveries", "listDeliveries", deliveries.list_deliveries, _READ),
    Endpoint("GET", "/v1/dead-letters", "listDeadLetters", deliveries.list_dead_letters, _READ),
    Endpoint("GET", "/v1/deliveries/{id}", "getDelivery", deliveries.get, _READ),
    Endpoint("POST", "/v1/deliveries/{id}/retry", "retryDelivery", deliveries.retry, _SUBSCRIBE),
    Endpoint("GET", "/v1/callbacks", "listCallbacks", callbacks.list_callbacks, _READ),
    Endpoint("GET", "/v1/callbacks/{id}", "getCallback", callbacks.get, _READ),
    Endpoint("POST", "/v1/callbacks/{id}/replay", "replayCallback", callbacks.replay, _WRITE),
    Endpoint("POST", "/v1/keys", "createApiKey", api_keys.create, _ADMIN, 201, ApiKeyCreate),
    Endpoint("GET", "/v1/keys", "listApiKeys", api_keys.list_api_keys, _ADMIN),
    Endpoint("DELETE", "/v1/keys/{id}", "deleteApiKey", api_keys.delete, _ADMIN, 204),
    Endpoint("GET", "/v1/providers", "listProviders", catalog.list_providers, _READ),
    Endpoint(
        "POST",
        "/v1/providers/{provider}/assets",
        "uploadAsset",
        assets.upload,
        _WRITE,
        201,
        AssetCreate,
        {"*/*": {"type": "string", "format": "binary"}},
    ),
    Endpoint("GET", "/v1/providers/{provider}/assets", "listAssets", assets.list_assets, _READ),
    Endpoint("GET", "/v1/providers/{provider}/assets/{id}", "getAsset", assets.get, _READ),
    Endpoint(
        "DELETE",
        "/v1/providers/{provider}/assets/{id}",
        "deleteAsset",
        assets.delete,
        _WRITE,
        204,
    ),
)


def health_routes() -> list[Route]:
    """The routes for monitoring; a worker process has no others."""
    return [
        Route("/livez", health.alive),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
    ]


def routes() -> list[Route]:
    """All routes. Starlette tries them in order, so callbacks, the most frequent, come first."""
    document, page = openapi_handlers(ENDPOINTS)
    return [
        Route("/callbacks/{provider}/{ref}", CallbackEndpoint()),
        Route("/callbacks/{rest:path}", CallbackEndpoint()),
        *health_routes(),
        Route("/openapi.json", document),
        Route("/docs", page),
        *(endpoint.route() for endpoint in ENDPOINTS),
    ]
