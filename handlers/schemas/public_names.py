"""The public names of the schemas: written by hand, so that no rename inside moves the API."""

from collections.abc import Mapping
from typing import Any, Final

from handlers.health import Readiness
from handlers.http.errors import Problem
from handlers.http.pagination import Listed
from handlers.schemas.api_keys import KeyView, NewKey
from handlers.schemas.callbacks import CallbackView
from handlers.schemas.deliveries import AttemptView, DeadLettersView, DeliveryView
from handlers.schemas.events import EventType, Match, Resend
from handlers.schemas.providers import OperationView, ProviderView
from handlers.schemas.recoveries import RecoveryView
from handlers.schemas.subscriptions import (
    Change,
    NewSubscription,
    Recover,
    Rotated,
    Secret,
    SubscriptionView,
)
from service.domain.callbacks import Verdict
from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.events import (
    Body,
    ProviderData,
    SubscriptionData,
    SystemEvent,
    TriedSubscription,
)
from service.domain.jobs.job import Reason, Status
from service.domain.jobs.results import Artifact, Code, JobError, Output, Stage
from service.domain.jobs.view import Cancellation, JobView, Progress
from service.domain.primitives.errors import Fault
from service.domain.security.api_keys import Scope
from service.transactions.job_request import Order

SCHEMA_NAMES: Final[Mapping[Any, str]] = {
    Order: "JobCreate",
    JobView: "Job",
    Listed[JobView]: "JobList",
    Status: "JobStatus",
    Progress: "JobProgress",
    Output: "JobOutput",
    Artifact: "Artifact",
    JobError: "JobError",
    Code: "ErrorCode",
    Stage: "ErrorStage",
    Cancellation: "Cancellation",
    Body: "Event",
    SystemEvent[SubscriptionData]: "SubscriptionEvent",
    SubscriptionData: "SubscriptionEventData",
    SystemEvent[ProviderData]: "ProviderEvent",
    ProviderData: "ProviderEventData",
    SystemEvent[TriedSubscription]: "TestEvent",
    TriedSubscription: "TestEventData",
    Listed[Body]: "EventList",
    EventType: "EventType",
    Listed[EventType]: "EventTypeList",
    Resend: "EventResend",
    Match: "SubscriptionMatch",
    Listed[Match]: "SubscriptionMatchList",
    NewSubscription: "SubscriptionCreate",
    Change: "SubscriptionUpdate",
    SubscriptionView: "Subscription",
    Listed[SubscriptionView]: "SubscriptionList",
    Secret: "SubscriptionSecret",
    Rotated: "RotatedSecret",
    Recover: "RecoveryCreate",
    RecoveryView: "Recovery",
    Listed[RecoveryView]: "RecoveryList",
    DeliveryView: "Delivery",
    Listed[DeliveryView]: "DeliveryList",
    DeliveryStatus: "DeliveryStatus",
    AttemptView: "Attempt",
    DeadLettersView: "DeadLetterSummary",
    Listed[DeadLettersView]: "DeadLetterSummaryList",
    CallbackView: "Callback",
    Listed[CallbackView]: "CallbackList",
    Verdict: "CallbackVerdict",
    Reason: "ReconcileReason",
    NewKey: "ApiKeyCreate",
    KeyView: "ApiKey",
    Listed[KeyView]: "ApiKeyList",
    Scope: "ApiKeyScope",
    ProviderView: "Provider",
    Listed[ProviderView]: "ProviderList",
    OperationView: "Operation",
    Problem: "Problem",
    Fault: "FieldError",
    Readiness: "Readiness",
}

WEBHOOK_BODIES: Final[Mapping[str, Any]] = {
    "job": Body,
    "subscription": SystemEvent[SubscriptionData],
    "provider": SystemEvent[ProviderData],
    "webhook": SystemEvent[TriedSubscription],
}
"""The body of an event type, by the word before its dot."""
