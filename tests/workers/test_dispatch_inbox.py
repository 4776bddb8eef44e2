"""The dispatch inbox: which tasks are queued or released, and when a claim follows."""

import pytest
from msgspec.structs import replace

from service.domain.deliveries.delivery import LEASE
from service.domain.deliveries.send_queue import SendQueues
from service.transactions.change_set import ChangeSet
from service.workers.dispatcher import DispatchInbox
from tests.support.factories import T0, a_subscription, a_task


def an_inbox(max_queued: int = 10) -> DispatchInbox:
    inbox = DispatchInbox(SendQueues(9, alone=True, max_queued=max_queued))
    inbox.queues.accepts_work = True
    return inbox


@pytest.mark.parametrize("changed", ["the subscription", "any"])
def test_a_task_whose_subscription_changed_during_the_claim_is_released(changed: str) -> None:
    inbox, task = an_inbox(), a_task(a_subscription(), due_at=T0 + LEASE)
    inbox.begin_claim(T0)

    inbox.release_queued(task.subscription.id if changed == "the subscription" else None)
    inbox.end_claim([task])

    assert inbox.take_released() == [task]
    assert inbox.queues.start() is None


def test_a_probe_is_sent_though_its_subscription_changed_meanwhile() -> None:
    inbox, task = an_inbox(), replace(a_task(a_subscription(), due_at=T0 + LEASE), probe=True)
    inbox.begin_claim(T0)

    inbox.release_queued(task.subscription.id)
    inbox.end_claim([task])

    assert inbox.take_released() == []
    assert inbox.queues.start() is not None


def test_a_change_between_two_claims_releases_nothing_later() -> None:
    inbox, task = an_inbox(), a_task(a_subscription(), due_at=T0 + LEASE)

    inbox.release_queued(task.subscription.id)
    inbox.begin_claim(T0)
    inbox.end_claim([task])

    assert inbox.take_released() == []


def test_the_change_of_another_subscription_releases_nothing() -> None:
    inbox, task = an_inbox(), a_task(a_subscription(), due_at=T0 + LEASE)
    inbox.begin_claim(T0)

    inbox.release_queued("sub_other")
    inbox.end_claim([task])

    assert inbox.take_released() == []
    assert inbox.queues.start() is not None


def test_an_overflow_starts_a_claim_at_once_if_the_queue_has_room_again() -> None:
    inbox, task = an_inbox(max_queued=1), a_task(a_subscription(), due_at=T0 + LEASE)
    inbox.put([task])
    started = inbox.queues.start()
    assert started is not None

    inbox.done(*started, settled=True)
    inbox.on_commit(ChangeSet(overflowed={task.subscription.id}))

    assert inbox.claim_wakeup.is_set


def test_an_overflow_starts_a_claim_when_the_queue_has_room_again() -> None:
    inbox, task = an_inbox(max_queued=1), a_task(a_subscription(), due_at=T0 + LEASE)
    inbox.put([task])
    started = inbox.queues.start()
    assert started is not None
    inbox.on_commit(ChangeSet(overflowed={task.subscription.id}))
    before = inbox.claim_wakeup.is_set

    inbox.done(*started, settled=True)

    assert (before, inbox.claim_wakeup.is_set) == (False, True)
