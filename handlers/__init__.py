"""Belfry listens here. `DOORS` and `routes` are the whole URL map."""

from typing import Final

from starlette.routing import Route

from handlers import (
    callbacks,
    deliveries,
    events,
    health,
    jobs,
    keys,
    stream,
    subscriptions,
)
from handlers.doors import Door
from handlers.lists import Listed, Paged
from handlers.openapi import pages
from service.callbacks import CallbackView
from service.deliveries import DeliveryView
from service.jobs import JobView
from service.keys import KeyView, Scope
from service.orders import Order
from service.subscriptions import SubscriptionView

_READ, _WRITE = Scope.JOBS_READ, Scope.JOBS_WRITE
_SUBSCRIBE, _ADMIN = Scope.SUBSCRIPTIONS_WRITE, Scope.ADMIN

# fmt: off
DOORS: Final = (
    Door(method="POST",   path="/v1/jobs",                      handler=jobs.submit,          scope=_WRITE,     body=(Order, list[Order]), answer=(JobView, Listed[JobView]), status=202),
    Door(method="GET",    path="/v1/jobs",                      handler=jobs.listing,         scope=_READ,      query=jobs.JobsQuery, answer=Listed[JobView]),
    Door(method="GET",    path="/v1/jobs/{id}",                 handler=jobs.show,            scope=_READ,      query=jobs.JobQuery, answer=JobView),
    Door(method="GET",    path="/v1/jobs/{id}/events",          handler=events.of_job,        scope=_READ,      query=Paged, answer=Listed[events.Shown]),
    Door(method="GET",    path="/v1/jobs/{id}/stream",          handler=stream.of_job,        scope=_READ,      query=stream.JobStreamQuery),
    Door(method="GET",    path="/v1/stream",                    handler=stream.everything,    scope=_READ,      query=stream.StreamQuery),
    Door(method="GET",    path="/v1/events",                    handler=events.listing,       scope=_READ,      query=events.EventsQuery, answer=Listed[events.Shown]),
    Door(method="GET",    path="/v1/events/{id}",               handler=events.show,          scope=_READ,      answer=events.Shown),
    Door(method="GET",    path="/v1/event-types",               handler=events.types,         scope=_READ,      answer=Listed[events.EventType]),
    Door(method="POST",   path="/v1/subscriptions",             handler=subscriptions.create, scope=_SUBSCRIBE, body=subscriptions.NewSubscription, answer=SubscriptionView, status=201),
    Door(method="GET",    path="/v1/subscriptions",             handler=subscriptions.listing,scope=_READ,      query=subscriptions.SubscriptionsQuery, answer=Listed[SubscriptionView]),
    Door(method="GET",    path="/v1/subscriptions/{id}",        handler=subscriptions.show,   scope=_READ,      answer=SubscriptionView),
    Door(method="PATCH",  path="/v1/subscriptions/{id}",        handler=subscriptions.change, scope=_SUBSCRIBE, body=subscriptions.SubscriptionChange, answer=SubscriptionView),
    Door(method="DELETE", path="/v1/subscriptions/{id}",        handler=subscriptions.delete, scope=_SUBSCRIBE, status=204),
    Door(method="GET",    path="/v1/subscriptions/{id}/secret", handler=subscriptions.secret, scope=_SUBSCRIBE, answer=subscriptions.Secret),
    Door(method="GET",    path="/v1/deliveries",                handler=deliveries.listing,   scope=_READ,      query=deliveries.DeliveriesQuery, answer=Listed[DeliveryView]),
    Door(method="GET",    path="/v1/deliveries/{id}",           handler=deliveries.show,      scope=_READ,      answer=DeliveryView),
    Door(method="POST",   path="/v1/deliveries/{id}/retry",     handler=deliveries.retry,     scope=_SUBSCRIBE, answer=DeliveryView),
    Door(method="GET",    path="/v1/callbacks",                 handler=callbacks.listing,    scope=_READ,      query=callbacks.CallbacksQuery, answer=Listed[CallbackView]),
    Door(method="GET",    path="/v1/callbacks/{id}",            handler=callbacks.show,       scope=_READ,      answer=CallbackView),
    Door(method="POST",   path="/v1/keys",                      handler=keys.create,          scope=_ADMIN,     body=keys.NewKey, answer=KeyView, status=201),
    Door(method="GET",    path="/v1/keys",                      handler=keys.listing,         scope=_ADMIN,     query=Paged, answer=Listed[KeyView]),
    Door(method="DELETE", path="/v1/keys/{id}",                 handler=keys.delete,          scope=_ADMIN,     status=204),
    Door(method="GET",    path="/v1/providers",                 handler=health.providers,     scope=_READ,      answer=Listed[health.ProviderView]),
)
# fmt: on


def routes() -> list[Route]:
    """The hot path first: routes are tried in their order."""
    document, page = pages(DOORS)
    return [
        Route("/callbacks/{provider}/{ref}", callbacks.Receiver()),
        Route("/callbacks/{rest:path}", callbacks.Receiver()),
        Route("/livez", health.alive),
        Route("/readyz", health.ready),
        Route("/metrics", health.metrics),
        Route("/openapi.json", document),
        Route("/docs", page),
        *(door.route() for door in DOORS),
    ]
