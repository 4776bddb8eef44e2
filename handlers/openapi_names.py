"""The public names of the schemas: written by hand, so that no rename inside moves the API."""

from collections.abc import Mapping
from typing import Any, Final

from handlers.actions import Recover, Rotated
from handlers.deliveries import DeadLettersView
from handlers.errors import Problem
from handlers.events import EventType, Match, Resend
from handlers.health import OperationView, ProviderView, Readiness
from handlers.keys import NewKey
from handlers.lists import Listed
from handlers.subscriptions import Change, NewSubscription, Secret
from service.callbacks import CallbackView, Verdict
from service.deliveries import AttemptView, DeliveryStatus, DeliveryView
from service.errors import Fault
from service.events import Body, ProviderData, SubscriptionData, SystemEvent, TriedSubscription
from service.job_view import Cancellation, JobView, Progress
from service.jobs import Reason, Status
from service.keys import KeyView, Scope
from service.orders import Order
from service.outputs import Artifact, Code, JobError, Output, Stage
from service.recoveries import RecoveryView
from service.subscriptions import SubscriptionView

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
