import msgspec
import pytest

from service.domain.events import DEFAULT_EVENT_TYPES, EVENT_TYPES, event_type_of, job_event
from service.domain.jobs.job import Job, Status
from service.domain.jobs.results import Artifact, Output
from tests.support.factories import T0, build_job

AT = T0 + 250_999


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, build_job(), "job.queued"),
        (Status.QUEUED, build_job(status=Status.SUBMITTING), None),
        (Status.SUBMITTING, build_job(status=Status.QUEUED), None),
        (Status.SUBMITTING, build_job(status=Status.SUBMITTED), "job.submitted"),
        (Status.SUBMITTED, build_job(status=Status.RUNNING), "job.running"),
        (Status.RUNNING, build_job(status=Status.RUNNING, progress=0.5), "job.progress"),
        (Status.RUNNING, build_job(status=Status.RUNNING, progress_text="half"), "job.progress"),
        (
            Status.SUBMITTED,
            build_job(status=Status.SUBMITTED, received_parts=("1",)),
            "job.progress",
        ),
        (Status.SUBMITTED, build_job(status=Status.RUNNING, progress=0.5), "job.running"),
        (Status.RUNNING, build_job(status=Status.RUNNING, provider_status="X", version=2), None),
        (Status.RUNNING, build_job(status=Status.RUNNING, provider_info={"a": 1}), None),
        (Status.RUNNING, build_job(status=Status.SUCCEEDED, progress=1.0), "job.succeeded"),
        (Status.RUNNING, build_job(status=Status.FAILED), "job.failed"),
        (Status.QUEUED, build_job(status=Status.CANCELED), "job.canceled"),
        (Status.SUBMITTED, build_job(status=Status.EXPIRED), "job.expired"),
        (Status.EXPIRED, build_job(status=Status.SUCCEEDED), "job.succeeded"),
        (Status.EXPIRED, build_job(status=Status.EXPIRED, received_parts=("1",)), None),
    ],
)
def test_the_event_type_of_each_transition(
    before: Status | None, after: Job, kind: str | None
) -> None:
    job_before = None if before is None else build_job(status=before)

    assert event_type_of(job_before, after) == kind


def test_the_default_event_types_are_the_four_final_statuses() -> None:
    assert set(DEFAULT_EVENT_TYPES) == {
        "job.succeeded",
        "job.failed",
        "job.canceled",
        "job.expired",
    }
    assert set(DEFAULT_EVENT_TYPES) < EVENT_TYPES.keys()


def test_the_payload_is_the_documented_body() -> None:
    artifact = Artifact(id="a1", kind="image", url="https://cdn.example/1.png", width=16)
    job = build_job(
        status=Status.SUCCEEDED,
        output=Output(artifacts=(artifact,)),
        progress=1.0,
        reply_ref="mine",
        provider_info={"features": {"used": 1515}},
        tags=("sea",),
        metadata={"order": 7},
        sequence=3,
        version=5,
        submitted_at=T0,
        finished_at=AT,
    )

    event = job_event(build_job(status=Status.RUNNING), job, "job.succeeded", "evt_1", AT)

    assert msgspec.json.decode(event.payload) == {
        "id": "evt_1",
        "type": "job.succeeded",
        "timestamp": "2026-01-01T12:00:00.250Z",
        "sequence": 3,
        "data": {
            "id": job.id,
            "object": "job",
            "provider": "useapi",
            "operation": "frames.create",
            "status": "succeeded",
            "progress": {"ratio": 1.0, "text": None},
            "provider_status": None,
            "provider_task_id": None,
            "provider_info": {"features": {"used": 1515}},
            "ref": job.ref,
            "reply_ref": "mine",
            "reply_subscription_id": None,
            "output": {
                "artifacts": [
                    {
                        "id": "a1",
                        "kind": "image",
                        "url": "https://cdn.example/1.png",
                        "media_type": None,
                        "width": 16,
                        "height": None,
                        "bytes": None,
                        "seed": None,
                        "nsfw": None,
                        "preview_urls": [],
                        "expires_at": None,
                    }
                ],
                "text": None,
                "data": None,
                "errors": [],
            },
            "error": None,
            "cost_usd": None,
            "metadata": {"order": 7},
            "tags": ["sea"],
            "version": 5,
            "created_at": "2026-01-01T12:00:00.000Z",
            "submitted_at": "2026-01-01T12:00:00.000Z",
            "finished_at": "2026-01-01T12:00:00.250Z",
            "deadline_at": None,
        },
    }


def test_the_keys_of_a_payload_are_in_the_documented_order() -> None:
    event = job_event(None, build_job(sequence=1), "job.queued", "evt_1", AT)

    keys = list(msgspec.json.decode(event.payload))

    assert keys == ["id", "type", "timestamp", "sequence", "data"]


def test_an_event_has_the_fields_that_filters_need() -> None:
    job = build_job(sequence=2, tags=("sea", "sky"))

    event = job_event(None, job, "job.queued", "evt_1", AT)

    assert (event.tenant, event.job_id, event.sequence) == ("acme", job.id, 2)
    assert (event.provider, event.operation) == ("useapi", "frames.create")
    assert (event.tags, event.at) == (("sea", "sky"), AT)


def test_an_end_that_replaces_an_expiry_is_marked() -> None:
    after = build_job(status=Status.SUCCEEDED)

    event = job_event(build_job(status=Status.EXPIRED), after, "job.succeeded", "evt_1", AT)

    assert msgspec.json.decode(event.payload)["after_expiry"] is True
