"""The public names of the schemas, listed by hand: renaming a class does not change the API."""

from collections.abc import Mapping
from typing import Any, Final

from handlers.health import Readiness
from handlers.http.errors import Problem
from handlers.http.pagination import ListResponse
from handlers.schemas.api_keys import ApiKeyCreate, ApiKeyView
from handlers.schemas.assets import AssetCreate, AssetRulesView, AssetView, ProviderAssetView
from handlers.schemas.callbacks import CallbackView
from handlers.schemas.deliveries import AttemptView, DeadLettersView, DeliveryView
from handlers.schemas.events import EventResend, EventType, SubscriptionMatch
from handlers.schemas.providers import OperationView, ProviderView
from handlers.schemas.recoveries import RecoveryView
from handlers.schemas.subscriptions import (
    RecoveryCreate,
    RotatedSecret,
    SubscriptionCreate,
    SubscriptionSecret,
    SubscriptionUpdate,
    SubscriptionView,
)
from service.domain.assets import AssetStatus
from service.domain.callbacks import Verdict
from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.events import (
    JobEvent,
    ModerationData,
    ProviderData,
    SubscriptionData,
    SystemEvent,
    WebhookTestData,
)
from service.domain.jobs.job import ReconcileReason, Status
from service.domain.jobs.results import Artifact, ErrorCode, ErrorStage, JobError, Output
from service.domain.jobs.view import Cancellation, JobView, Progress
from service.domain.primitives.errors import FieldError
from service.domain.security.api_keys import Scope
from service.transactions.job_request import JobRequest

SCHEMA_NAMES: Final[Mapping[Any, str]] = {
    JobRequest: "JobCreate",
    JobView: "Job",
    ListResponse[JobView]: "JobList",
    Status: "JobStatus",
    Progress: "JobProgress",
    Output: "JobOutput",
    Artifact: "Artifact",
    JobError: "JobError",
    ErrorCode: "ErrorCode",
    ErrorStage: "ErrorStage",
    Cancellation: "Cancellation",
    JobEvent: "Event",
    SystemEvent[SubscriptionData]: "SubscriptionEvent",
    SubscriptionData: "SubscriptionEventData",
    SystemEvent[ProviderData]: "ProviderEvent",
    ProviderData: "ProviderEventData",
    SystemEvent[ModerationData]: "ModerationEvent",
    ModerationData: "ModerationEventData",
    SystemEvent[WebhookTestData]: "TestEvent",
    WebhookTestData: "TestEventData",
    ListResponse[JobEvent]: "EventList",
    EventType: "EventType",
    ListResponse[EventType]: "EventTypeList",
    EventResend: "EventResend",
    SubscriptionMatch: "SubscriptionMatch",
    ListResponse[SubscriptionMatch]: "SubscriptionMatchList",
    SubscriptionCreate: "SubscriptionCreate",
    SubscriptionUpdate: "SubscriptionUpdate",
    SubscriptionView: "Subscription",
    ListResponse[SubscriptionView]: "SubscriptionList",
    SubscriptionSecret: "SubscriptionSecret",
    RotatedSecret: "RotatedSecret",
    RecoveryCreate: "RecoveryCreate",
    RecoveryView: "Recovery",
    ListResponse[RecoveryView]: "RecoveryList",
    DeliveryView: "Delivery",
    ListResponse[DeliveryView]: "DeliveryList",
    DeliveryStatus: "DeliveryStatus",
    AttemptView: "Attempt",
    DeadLettersView: "DeadLetterSummary",
    ListResponse[DeadLettersView]: "DeadLetterSummaryList",
    CallbackView: "Callback",
    ListResponse[CallbackView]: "CallbackList",
    Verdict: "CallbackVerdict",
    ReconcileReason: "ReconcileReason",
    ApiKeyCreate: "ApiKeyCreate",
    ApiKeyView: "ApiKey",
    ListResponse[ApiKeyView]: "ApiKeyList",
    Scope: "ApiKeyScope",
    ProviderView: "Provider",
    ListResponse[ProviderView]: "ProviderList",
    OperationView: "Operation",
    AssetCreate: "AssetCreate",
    AssetView: "Asset",
    ListResponse[AssetView]: "AssetList",
    AssetStatus: "AssetStatus",
    AssetRulesView: "AssetRules",
    ProviderAssetView: "ProviderAsset",
    ListResponse[ProviderAssetView]: "ProviderAssetList",
    Problem: "Problem",
    FieldError: "FieldError",
    Readiness: "Readiness",
}

WEBHOOK_BODIES: Final[Mapping[str, Any]] = {
    "job": JobEvent,
    "subscription": SystemEvent[SubscriptionData],
    "provider": SystemEvent[ProviderData],
    "provider.moderation_warning": SystemEvent[ModerationData],
    "webhook": SystemEvent[WebhookTestData],
}
"""The body of an event type, by its name, or else by the part of its name before the dot."""
