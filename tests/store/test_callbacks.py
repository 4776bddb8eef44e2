"""Callbacks: deduplication, lists, and the latest body of a job."""

import pytest

from service.domain.callbacks import Verdict
from service.transactions.change_set import RawResponse
from service.transactions.store_protocols import Page, Store
from tests.support.factories import T0, a_callback
from tests.support.store_steps import ALL, insert_job
from tests.support.transactions import change, write

pytestmark = pytest.mark.anyio


async def test_the_same_bytes_for_one_job_are_stored_once_and_counted(store: Store) -> None:
    job = await insert_job(store)
    first, second, third = [a_callback(job, verdict=Verdict.LATE) for _ in range(3)]

    changes = [
        await change(store, [job.ref], write(callbacks=[callback]))
        for callback in (first, second, third)
    ]

    assert [change_set.repeated_callbacks for change_set in changes] == [
        set(),
        {second.id},
        {third.id},
    ]
    (stored,) = await store.callbacks.find("acme", {}, ALL)
    assert (stored.id, stored.repeats) == (first.id, 2)


async def test_a_repeated_callback_in_one_transaction_is_counted(store: Store) -> None:
    job = await insert_job(store)
    accepted, repeated = a_callback(job), a_callback(job, verdict=Verdict.LATE)

    changes = await change(store, [job.ref], write(callbacks=[accepted, repeated]))

    assert changes.repeated_callbacks == {repeated.id}
    assert (await store.callbacks.get("acme", accepted.id)).repeats == 1


async def test_other_bytes_or_another_job_are_another_callback(store: Store) -> None:
    one, two = [await insert_job(store) for _ in range(2)]
    callbacks = [a_callback(one), a_callback(one, digest="d2"), a_callback(two)]

    await change(store, [one.ref, two.ref], write(callbacks=callbacks))

    assert len(await store.callbacks.find("acme", {}, ALL)) == 3


async def test_callbacks_are_listed_without_bodies_by_verdict_and_job(store: Store) -> None:
    one, two = [await insert_job(store) for _ in range(2)]
    accepted = a_callback(one)
    late = a_callback(one, digest="d2", verdict=Verdict.LATE)
    unreadable = a_callback(two, verdict=Verdict.UNREADABLE)
    await change(store, [], write(callbacks=[accepted, late, unreadable]))

    of_job = await store.callbacks.find("acme", {"job": one.id}, ALL)
    by_verdict = await store.callbacks.find("acme", {"verdict": "unreadable"}, ALL)
    next_page = await store.callbacks.find("acme", {}, Page(limit=9, cursor=late.id))

    assert [(callback.id, callback.body) for callback in of_job] == [
        (late.id, b""),
        (accepted.id, b""),
    ]
    assert [callback.id for callback in by_verdict] == [unreadable.id]
    assert [callback.id for callback in next_page] == [accepted.id]


async def test_the_last_body_of_a_job_is_its_latest_readable_callback_or_else_the_response(
    store: Store,
) -> None:
    job = await insert_job(store)
    response = RawResponse(ref=job.ref, at=T0, status_code=200, body=b"response")

    before = await store.jobs.last_body(job.id)
    await change(store, [job.ref], write(responses=[response]))
    after_response = await store.jobs.last_body(job.id)
    for n, verdict in enumerate(("accepted", "late", "unreadable", "mismatched")):
        callback = a_callback(job, digest=f"d{n}", body=verdict.encode(), verdict=Verdict(verdict))
        await change(store, [job.ref], write(callbacks=[callback]))

    assert (before, after_response) == (None, b"response")
    assert await store.jobs.last_body(job.id) == b"late"
