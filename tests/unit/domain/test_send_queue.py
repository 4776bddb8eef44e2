from service.domain.deliveries.delivery import Placement
from service.domain.deliveries.send_queue import MAX_QUEUED, ReceiverQueue, SendPacer, SendQueues
from service.domain.primitives.timestamps import SECOND
from tests.support.factories import T0, a_subscription, a_task

RECEIVER = a_subscription(max_in_flight=2)


def test_events_of_different_jobs_are_sent_concurrently() -> None:
    queue = ReceiverQueue(RECEIVER)
    one, two = a_task(RECEIVER, job_id="job_1"), a_task(RECEIVER, job_id="job_2")

    taken = [queue.put(one), queue.put(two)]

    assert taken == [True, True]
    assert [queue.next(), queue.next(), queue.next()] == [one, two, None]


def test_the_next_event_of_a_job_waits_for_the_previous_one() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, second = a_task(RECEIVER, sequence=1), a_task(RECEIVER, sequence=2, earlier=1)
    queue.put(first)
    queue.put(second)

    before = [queue.next(), queue.next()]
    returned = queue.done(first, settled=True)

    assert (before, returned) == ([first, None], [])
    assert queue.next() is second


def test_tasks_behind_a_failed_one_are_returned_in_order() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, *others = [a_task(RECEIVER, sequence=n) for n in (1, 2, 3)]
    for task in (first, *others):
        queue.put(task)
    queue.next()

    returned = queue.done(first, settled=False)

    assert returned == others
    assert (queue.queued_count, queue.follows("job_1", 3)) == (0, False)


def test_a_queue_is_empty_after_the_last_task_of_a_job() -> None:
    queue, task = ReceiverQueue(RECEIVER), a_task(RECEIVER)
    queue.put(task)
    queue.next()

    returned = queue.done(task, settled=True)

    assert (returned, queue.queued_count, queue.follows("job_1", 1)) == ([], 0, False)


def test_a_task_is_rejected_if_the_earlier_event_is_not_in_the_queue() -> None:
    queue = ReceiverQueue(RECEIVER)

    taken = queue.put(a_task(RECEIVER, sequence=2, earlier=1))

    assert (taken, queue.queued_count, queue.next()) == (False, 0, None)


def test_an_event_without_earlier_pending_events_is_accepted_again() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, sequence=1)
    queue.put(first)
    queue.next()
    queue.done(first, settled=True)

    taken = queue.put(a_task(RECEIVER, sequence=2))

    assert taken
    assert queue.next() is not None


def test_events_about_no_job_do_not_wait_for_each_other() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, second = (a_task(RECEIVER, job_id=None, type="webhook.test") for _ in range(2))
    queue.put(first)
    queue.put(second)

    assert [queue.next(), queue.next()] == [first, second]


def test_a_queue_starts_at_most_max_in_flight_tasks() -> None:
    queue = ReceiverQueue(RECEIVER)
    for n in range(3):
        queue.put(a_task(RECEIVER, job_id=f"job_{n}"))

    started = [queue.next() is not None for _ in range(3)]

    assert started == [True, True, False]


def test_a_queue_uses_the_latest_version_of_its_subscription() -> None:
    queue = ReceiverQueue(RECEIVER)
    changed = a_subscription(id=RECEIVER.id, max_in_flight=9)

    queue.put(a_task(changed))

    assert queue.subscription is changed


def test_a_full_queue_has_room_again_after_a_task_is_done() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, job_id="job_0")
    queue.put(first)
    for n in range(1, MAX_QUEUED):
        queue.put(a_task(RECEIVER, job_id=f"job_{n}"))
    queue.next()

    before = queue.full
    queue.done(first, settled=True)

    assert (before, queue.full) == (True, False)


def test_tasks_that_are_not_in_flight_can_be_released() -> None:
    queue = ReceiverQueue(RECEIVER)
    in_flight, behind = (a_task(RECEIVER, sequence=n) for n in (1, 2))
    ready, after = (a_task(RECEIVER, job_id="job_2", sequence=n) for n in (1, 2))
    for task in (in_flight, behind, ready, after):
        queue.put(task)
    queue.next()

    returned = queue.release()

    assert returned == [ready, after, behind]
    assert (list(queue.in_flight.values()), queue.queued_count, queue.next()) == (
        [in_flight],
        1,
        None,
    )
    assert queue.done(in_flight, settled=True) == []
    assert (queue.in_flight, queue.queued_count) == ({}, 0)


def test_an_event_is_rejected_while_the_one_before_it_is_missing() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, sequence=1)
    queue.put(first)
    queue.next()

    refused = queue.put(a_task(RECEIVER, sequence=3, earlier=2))
    joined = queue.put(a_task(RECEIVER, sequence=2, earlier=1))
    follows = queue.put(a_task(RECEIVER, sequence=3, earlier=2))

    assert (refused, joined, follows) == (False, True, True)


def test_a_later_event_is_rejected_after_earlier_ones_were_released() -> None:
    queue = ReceiverQueue(RECEIVER)
    for n in (1, 2):
        queue.put(a_task(RECEIVER, sequence=n, earlier=n - 1))
    queue.next()
    queue.release()

    assert not queue.put(a_task(RECEIVER, sequence=3, earlier=2))


def test_superseded_progress_is_dropped_and_the_next_event_is_still_sent() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, progress = (
        a_task(RECEIVER, sequence=n, type="job.progress", earlier=n - 1) for n in (1, 2)
    )
    queue.put(first)
    queue.put(progress)
    queue.next()

    waiting = queue.waiting_progress("job_1")
    queue.drop(waiting)
    newer = a_task(RECEIVER, sequence=3, earlier=2)
    taken = queue.put(newer)
    queue.done(first, settled=True)

    assert (waiting, taken, queue.queued_count) == ([progress.delivery], True, 1)
    assert queue.next() is newer


def test_sends_are_paced_by_the_rate_limit() -> None:
    pacer, task = SendPacer(), a_task(a_subscription(rate_limit=2))

    taken = [pacer.next_send(task, T0) for _ in range(3)]

    assert taken == [T0, T0 + SECOND // 2, T0 + SECOND]


def test_a_send_time_far_in_the_future_is_ignored_after_the_clock_was_set_back() -> None:
    pacer, subscription = SendPacer(), a_subscription(rate_limit=2)
    pacer.next_send(a_task(subscription), T0 + 3600 * SECOND)

    assert pacer.delayed(T0) == {}
    assert pacer.next_send(a_task(subscription), T0) == T0


def queues_of(limit: int) -> SendQueues:
    queues = SendQueues(limit, alone=True)
    queues.accepts_work = True
    return queues


def started(queues: SendQueues) -> list[str]:
    """Start all tasks that may start; returns their subscription ids in order."""
    ids = []
    while attempt := queues.start():
        ids.append(attempt[1].subscription.id)
    return ids


def test_the_process_limits_the_number_of_posts_in_flight() -> None:
    queues = queues_of(4)
    subscriptions = [a_subscription(max_in_flight=9) for _ in range(6)]
    queues.put(
        [
            a_task(subscription, job_id=f"job_{n}")
            for subscription in subscriptions
            for n in range(2)
        ]
    )

    ids = started(queues)

    assert ids == [subscription.id for subscription in subscriptions[:4]]


def test_subscriptions_take_turns() -> None:
    queues = queues_of(8)
    many, few = a_subscription(max_in_flight=9), a_subscription(max_in_flight=9)
    queues.put([a_task(many, job_id=f"job_{n}") for n in range(5)])
    queues.put([a_task(few, job_id=f"job_{n}") for n in range(2)])

    ids = started(queues)

    assert ids == [many.id, few.id, many.id, few.id, many.id, many.id]


def test_receivers_that_hang_leave_room_for_other_receivers() -> None:
    queues = queues_of(8)
    hanging = [a_subscription(max_in_flight=9) for _ in range(2)]
    queues.put(
        [a_task(subscription, job_id=f"job_{n}") for subscription in hanging for n in range(9)]
    )
    before = started(queues)
    working = a_subscription()

    queues.put([a_task(working, job_id=f"job_{n}") for n in range(3)])

    assert len(before) == 6
    assert started(queues) == [working.id]


def test_the_next_post_goes_to_the_subscription_that_waited_longest() -> None:
    queues = queues_of(1)
    first, second = a_subscription(), a_subscription()
    queues.put([a_task(first, job_id=f"job_{n}") for n in range(2)])
    queues.put([a_task(second)])
    attempt = queues.start()
    assert attempt is not None

    queues.done(*attempt, settled=True)

    assert started(queues) == [second.id]


def test_a_process_that_stops_starts_nothing() -> None:
    queues = queues_of(4)
    queues.put([a_task(RECEIVER)])

    queues.accepts_work = False

    assert queues.start() is None


def test_a_rejected_task_leaves_no_queue() -> None:
    queues, late = queues_of(4), a_task(RECEIVER, sequence=2, earlier=1)

    refused = queues.put([late])

    assert (refused, queues.by_subscription) == ([late], {})


def test_superseded_deliveries_that_are_not_queued_here_change_nothing() -> None:
    queues, task = queues_of(4), a_task(RECEIVER, job_id="job_1")
    queues.put([task])
    elsewhere = a_task(RECEIVER, job_id="job_2").delivery
    of_another = a_task(a_subscription(), job_id="job_1").delivery

    queues.drop([elsewhere, of_another])

    assert started(queues) == [RECEIVER.id]


def test_a_delivery_for_a_full_queue_stays_in_the_store_until_there_is_room() -> None:
    queues = queues_of(4)
    first, *others = [a_task(RECEIVER, job_id=f"job_{n}") for n in range(MAX_QUEUED)]
    queues.put([first, *others])

    placement = queues.place(RECEIVER, "job_x", 0)
    full = queues.mark_overflowed([RECEIVER.id])
    queue = queues.by_subscription[RECEIVER.id]
    queue.next()
    queue.done(first, settled=True)

    assert (placement, full, queue.overflowed) == (Placement.OVERFLOW, False, True)
    assert queues.place(RECEIVER, "job_x", 0) is Placement.LOCAL
    assert queues.mark_overflowed([RECEIVER.id])
    assert queues.mark_overflowed(["sub_without_a_queue"])


def test_released_tasks_are_not_started() -> None:
    queues, task = queues_of(4), a_task(RECEIVER)
    queues.put([task])

    assert queues.release(RECEIVER.id) == [task]
    assert started(queues) == []
    assert queues.by_subscription == {}
