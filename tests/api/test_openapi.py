"""The OpenAPI document describes what the API does."""

import re
from typing import Any

import msgspec
import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from handlers import ENDPOINTS
from handlers.openapi import describe
from service.domain.events import (
    EVENT_TYPES,
    ModerationData,
    ProviderData,
    SubscriptionData,
    SystemData,
    WebhookTestData,
    system_event,
)
from tests.support.factories import T0
from tests.support.job_steps import an_ended_job
from tests.support.receivers import Receiver, status
from tests.support.service_harness import Json, SandboxedService, Service, eventually

pytestmark = pytest.mark.anyio

DOCUMENT = msgspec.json.decode(msgspec.json.encode(describe(ENDPOINTS)), type=dict[str, Any])


def test_the_document_is_valid_openapi() -> None:
    validate(DOCUMENT)


def test_every_endpoint_and_every_event_type_is_described() -> None:
    operations = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}

    assert {(endpoint.path, endpoint.method.lower()) for endpoint in ENDPOINTS} <= operations
    assert set(DOCUMENT["webhooks"]) == set(EVENT_TYPES)


SCHEMAS = """
    ApiKey ApiKeyCreate ApiKeyList ApiKeyScope Artifact Asset AssetCreate AssetList AssetRules
    AssetStatus Attempt Callback CallbackList CallbackVerdict Cancellation DeadLetterSummary
    DeadLetterSummaryList Delivery DeliveryList DeliveryStatus ErrorCode ErrorStage Event
    EventList EventResend EventType EventTypeList FieldError Job JobCreate JobError JobList
    JobOutput JobProgress JobStatus ModerationEvent ModerationEventData Operation Problem
    Provider ProviderAsset ProviderAssetList ProviderEvent ProviderEventData ProviderList
    Readiness ReconcileReason Recovery RecoveryCreate RecoveryList RotatedSecret Subscription
    SubscriptionCreate SubscriptionEvent SubscriptionEventData SubscriptionList
    SubscriptionMatch SubscriptionMatchList SubscriptionSecret SubscriptionUpdate TestEvent
    TestEventData
"""
OPERATIONS = """
    cancelJob cancelRecovery createApiKey createSubscription deleteApiKey deleteAsset
    deleteSubscription getAsset getCallback getDelivery getEvent getJob getLiveness getMetrics
    getReadiness getRecovery getSubscription getSubscriptionSecret listApiKeys listAssets
    listCallbacks listDeadLetters listDeliveries listEventSubscriptions listEventTypes
    listEvents listJobEvents listJobs listProviders listRecoveries listSubscriptions
    pauseSubscription receiveAccountCallback receiveCallback recoverSubscription replayCallback
    resendEvent resumeSubscription retryDelivery retryJob rotateSubscriptionSecret streamEvents
    streamJob submitJob testSubscription updateSubscription uploadAsset
"""


def test_schema_names_and_operation_ids_do_not_change() -> None:
    methods = [method for path in DOCUMENT["paths"].values() for method in path.values()]

    assert sorted(DOCUMENT["components"]["schemas"]) == SCHEMAS.split()
    assert sorted(method["operationId"] for method in methods) == OPERATIONS.split()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("subscription.failing", SubscriptionData(id="sub_1", reason="answered 500")),
        ("subscription.recovered", SubscriptionData(id="sub_1", reason=None)),
        (
            "provider.paused",
            ProviderData(provider="useapi", scope="credits", reason="no credits", job="job_1"),
        ),
        (
            "provider.moderation_warning",
            ModerationData(provider="useapi", share=0.11, window=100, job="job_1"),
        ),
        ("webhook.test", WebhookTestData(id="sub_1")),
    ],
)
def test_system_events_match_their_schemas(kind: str, data: SystemData) -> None:
    event = system_event(kind, "acme", data, "evt_1", T0)
    content = DOCUMENT["webhooks"][kind]["post"]["requestBody"]["content"]

    schema = content["application/json"]["schema"]

    assert schema_errors(schema, msgspec.json.decode(event.payload)) == []
    assert schema_errors(schema, {"id": "evt_1", "data": {}}) != []


async def test_system_events_in_the_log_match_their_schemas(
    service: Service, receiver: Receiver
) -> None:
    receiver.script = [status(410)]
    await service.subscribe(receiver.url)
    await an_ended_job(service)

    async def disabled() -> Json | None:
        log = await service.get("/v1/events", event_types="subscription.disabled")
        return log if log["data"] else None

    log = await eventually(disabled)
    (event,) = log["data"]
    shown = await service.get(f"/v1/events/{event['id']}")

    assert schema_errors(response_schema("/v1/events"), log) == []
    assert schema_errors(response_schema("/v1/events/{id}"), shown) == []


def schema_errors(schema: Json, value: Any) -> list[str]:
    bundle = {**schema, "components": DOCUMENT["components"]}
    return [error.message for error in OAS31Validator(bundle).iter_errors(value)]


def response_schema(path: str, method: str = "get", status: str = "200") -> Json:
    content = DOCUMENT["paths"][path][method]["responses"][status]["content"]
    return dict(content["application/json"]["schema"])


async def test_responses_match_their_schemas(
    sandboxed: SandboxedService, receiver: Receiver
) -> None:
    await sandboxed.subscribe(receiver.url, "job.*")
    submitted = await sandboxed.submit("useapi", "frames.create", {"text_prompt": "a lighthouse"})
    await sandboxed.ended(submitted["id"])
    webhook = await receiver.wait_for(lambda one: one.event["type"] == "job.succeeded")
    urls = {
        "/v1/jobs": "/v1/jobs",
        "/v1/jobs/{id}": f"/v1/jobs/{submitted['id']}",
        "/v1/jobs/{id}/events": f"/v1/jobs/{submitted['id']}/events",
        "/v1/events": "/v1/events",
        "/v1/events/{id}": f"/v1/events/{webhook.event['id']}",
        "/v1/event-types": "/v1/event-types",
        "/v1/subscriptions": "/v1/subscriptions",
        "/v1/deliveries": "/v1/deliveries",
        "/v1/callbacks": "/v1/callbacks",
        "/v1/keys": "/v1/keys",
        "/v1/providers": "/v1/providers",
        "/readyz": "/readyz",
    }

    errors = {
        path: schema_errors(response_schema(path), await sandboxed.get(url))
        for path, url in urls.items()
    }
    content = DOCUMENT["webhooks"]["job.succeeded"]["post"]["requestBody"]["content"]

    assert {path: found for path, found in errors.items() if found} == {}
    assert schema_errors(response_schema("/v1/jobs", "post", "202"), submitted) == []
    assert schema_errors(content["application/json"]["schema"], webhook.event) == []


async def test_the_page_shows_every_endpoint(sandboxed: SandboxedService) -> None:
    page = (await sandboxed.http.get("/docs")).text

    assert [endpoint.path for endpoint in ENDPOINTS if endpoint.path not in page] == []
    assert "http://" not in page.replace(sandboxed.url, "")


async def test_responses_of_writing_endpoints_match_their_schemas(
    service: Service, receiver: Receiver
) -> None:
    created = await service.subscribe(receiver.url, "job.*", headers={"x-a": "b"})
    body = {"provider": "useapi", "operation": "frames.create", "input": {"text_prompt": "x"}}
    many = await service.post("/v1/jobs", [body, body])
    job = many["data"][0]
    await service.call_back("useapi", job["ref"], {"status": "FAILED", "error": "x"})
    await receiver.wait(3)
    (delivery, *_) = await service.deliveries()
    (callback,) = (await service.get("/v1/callbacks"))["data"]
    subscription = f"/v1/subscriptions/{created['id']}"
    key = await service.post("/v1/keys", {"scopes": ["jobs:read"], "name": "mine"})
    changed = await service.http.patch(subscription, json={"max_in_flight": 2})
    again = await service.post(f"/v1/deliveries/{delivery['id']}/retry")
    responses: list[tuple[str, str, str, Any]] = [
        ("/v1/jobs", "post", "202", many),
        ("/v1/jobs/{id}", "get", "200", await service.get(f"/v1/jobs/{job['id']}", expand="raw")),
        ("/v1/subscriptions", "post", "201", created),
        ("/v1/subscriptions/{id}", "get", "200", await service.get(subscription)),
        ("/v1/subscriptions/{id}", "patch", "200", changed.json()),
        (
            "/v1/subscriptions/{id}/secret",
            "get",
            "200",
            await service.get(f"{subscription}/secret"),
        ),
        (
            "/v1/deliveries/{id}",
            "get",
            "200",
            await service.get(f"/v1/deliveries/{delivery['id']}"),
        ),
        ("/v1/deliveries/{id}/retry", "post", "200", again),
        ("/v1/callbacks/{id}", "get", "200", await service.get(f"/v1/callbacks/{callback['id']}")),
        ("/v1/keys", "post", "201", key),
    ]

    errors = [
        (path, method, schema_errors(response_schema(path, method, code), response))
        for path, method, code, response in responses
    ]

    assert [found for found in errors if found[2]] == []


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v1/jobs/x", None),
        ("GET", "/v1/jobs?colour=red", None),
        ("POST", "/v1/jobs", {"provider": "x"}),
        ("PUT", "/v1/jobs", None),
    ],
)
async def test_error_responses_match_their_schema(
    method: str, path: str, body: Json | None, shared_service: Service
) -> None:
    content = DOCUMENT["paths"]["/v1/jobs"]["get"]["responses"]["default"]["content"]

    response = await shared_service.http.request(method, path, json=body)

    assert schema_errors(content["application/problem+json"]["schema"], response.json()) == []


def test_every_reference_resolves_and_every_operation_id_is_unique() -> None:
    text = msgspec.json.encode(DOCUMENT).decode()
    operations = [
        operation["operationId"]
        for group in (DOCUMENT["paths"], DOCUMENT["webhooks"])
        for item in group.values()
        for operation in item.values()
    ]
    references = set(re.findall(r'"#/components/schemas/([^"]+)"', text))

    assert references <= set(DOCUMENT["components"]["schemas"])
    assert len(operations) == len(set(operations))
