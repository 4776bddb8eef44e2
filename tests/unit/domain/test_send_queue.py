from service.domain.deliveries.send_queue import MAX_QUEUED, ReceiverQueue, SendPacer, SendQueues
from service.domain.primitives.timestamps import SECOND
from tests.support.factories import T0, a_subscription, a_task

RECEIVER = a_subscription(max_in_flight=2)


def test_jobs_are_carried_side_by_side() -> None:
    queue = ReceiverQueue(RECEIVER)
    one, two = a_task(RECEIVER, job_id="job_1"), a_task(RECEIVER, job_id="job_2")

    taken = [queue.put(one), queue.put(two)]

    assert taken == [True, True]
    assert [queue.next(), queue.next(), queue.next()] == [one, two, None]


def test_the_next_event_of_a_job_waits_for_the_one_before() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, second = a_task(RECEIVER, sequence=1), a_task(RECEIVER, sequence=2, earlier=1)
    queue.put(first)
    queue.put(second)

    before = [queue.next(), queue.next()]
    left = queue.done(first, settled=True)

    assert (before, left) == ([first, None], [])
    assert queue.next() is second


def test_what_waits_behind_a_failure_is_given_back_in_order() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, *others = [a_task(RECEIVER, sequence=n) for n in (1, 2, 3)]
    for task in (first, *others):
        queue.put(task)
    queue.next()

    left = queue.done(first, settled=False)

    assert left == others
    assert (queue.queued_count, queue.follows("job_1", 3)) == (0, False)


def test_a_settled_chain_ends_with_its_last_parcel() -> None:
    queue, task = ReceiverQueue(RECEIVER), a_task(RECEIVER)
    queue.put(task)
    queue.next()

    left = queue.done(task, settled=True)

    assert (left, queue.queued_count, queue.follows("job_1", 1)) == ([], 0, False)


def test_a_parcel_behind_one_that_is_not_in_hand_is_not_taken() -> None:
    queue = ReceiverQueue(RECEIVER)

    taken = queue.put(a_task(RECEIVER, sequence=2, earlier=1))

    assert (taken, queue.queued_count, queue.next()) == (False, 0, None)


def test_an_event_that_follows_no_other_may_start_a_chain_again() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, sequence=1)
    queue.put(first)
    queue.next()
    queue.done(first, settled=True)

    taken = queue.put(a_task(RECEIVER, sequence=2))

    assert taken
    assert queue.next() is not None


def test_events_of_no_job_wait_for_nothing() -> None:
    queue = ReceiverQueue(RECEIVER)
    first, second = (a_task(RECEIVER, job_id=None, type="webhook.test") for _ in range(2))
    queue.put(first)
    queue.put(second)

    assert [queue.next(), queue.next()] == [first, second]


def test_a_lane_starts_no_more_than_its_receiver_allows() -> None:
    queue = ReceiverQueue(RECEIVER)
    for n in range(3):
        queue.put(a_task(RECEIVER, job_id=f"job_{n}"))

    started = [queue.next() is not None for _ in range(3)]

    assert started == [True, True, False]


def test_the_latest_form_of_a_subscription_counts() -> None:
    queue = ReceiverQueue(RECEIVER)
    changed = a_subscription(id=RECEIVER.id, max_in_flight=9)

    queue.put(a_task(changed))

    assert queue.subscription is changed


def test_a_lane_is_full_when_it_has_no_room_and_has_room_again_later() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, job_id="job_0")
    queue.put(first)
    for n in range(1, MAX_QUEUED):
        queue.put(a_task(RECEIVER, job_id=f"job_{n}"))
    queue.next()

    before = queue.full
    queue.done(first, settled=True)

    assert (before, queue.full) == (True, False)


def test_what_is_not_under_way_can_be_given_back() -> None:
    queue = ReceiverQueue(RECEIVER)
    under_way, behind = (a_task(RECEIVER, sequence=n) for n in (1, 2))
    ready, after = (a_task(RECEIVER, job_id="job_2", sequence=n) for n in (1, 2))
    for task in (under_way, behind, ready, after):
        queue.put(task)
    queue.next()

    left = queue.release()

    assert left == [ready, after, behind]
    assert (list(queue.in_flight.values()), queue.queued_count, queue.next()) == (
        [under_way],
        1,
        None,
    )
    assert queue.done(under_way, settled=True) == []
    assert (queue.in_flight, queue.queued_count) == ({}, 0)


def test_an_event_does_not_join_a_chain_that_lacks_the_one_before_it() -> None:
    queue, first = ReceiverQueue(RECEIVER), a_task(RECEIVER, sequence=1)
    queue.put(first)
    queue.next()

    refused = queue.put(a_task(RECEIVER, sequence=3, earlier=2))
    joined = queue.put(a_task(RECEIVER, sequence=2, earlier=1))
    follows = queue.put(a_task(RECEIVER, sequence=3, earlier=2))

    assert (refused, joined, follows) == (False, True, True)


def test_nothing_joins_in_front_of_what_was_given_back() -> None:
    queue = ReceiverQueue(RECEIVER)
    for n in (1, 2):
        queue.put(a_task(RECEIVER, sequence=n, earlier=n - 1))
    queue.next()
    queue.release()

    assert not queue.put(a_task(RECEIVER, sequence=3, earlier=2))


def test_superseded_progress_is_dropped_and_the_next_event_still_follows() -> None:
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


def test_turns_keep_their_distance() -> None:
    turns, task = SendPacer(), a_task(a_subscription(rate_limit=2))

    taken = [turns.next_send(task, T0) for _ in range(3)]

    assert taken == [T0, T0 + SECOND // 2, T0 + SECOND]


def test_a_turn_from_before_the_clock_was_set_back_is_forgotten() -> None:
    turns, hook = SendPacer(), a_subscription(rate_limit=2)
    turns.next_send(a_task(hook), T0 + 3600 * SECOND)

    assert turns.delayed(T0) == {}
    assert turns.next_send(a_task(hook), T0) == T0


def queues_of(limit: int) -> SendQueues:
    queues = SendQueues(limit, alone=True)
    queues.accepts_work = True
    return queues


def started(queues: SendQueues) -> list[str]:
    """Start all that may be started; the subscriptions of it, in order."""
    ids = []
    while begun := queues.start():
        ids.append(begun[1].subscription.id)
    return ids


def test_no_more_posts_are_under_way_than_the_process_allows() -> None:
    queues = queues_of(4)
    hooks = [a_subscription(max_in_flight=9) for _ in range(6)]
    queues.put([a_task(hook, job_id=f"job_{n}") for hook in hooks for n in range(2)])

    ids = started(queues)

    assert ids == [hook.id for hook in hooks[:4]]


def test_subscriptions_take_turns() -> None:
    queues = queues_of(8)
    many, few = a_subscription(max_in_flight=9), a_subscription(max_in_flight=9)
    queues.put([a_task(many, job_id=f"job_{n}") for n in range(5)])
    queues.put([a_task(few, job_id=f"job_{n}") for n in range(2)])

    ids = started(queues)

    assert ids == [many.id, few.id, many.id, few.id, many.id, many.id]


def test_receivers_that_hang_leave_room_for_others() -> None:
    queues = queues_of(8)
    hanging = [a_subscription(max_in_flight=9) for _ in range(2)]
    queues.put([a_task(hook, job_id=f"job_{n}") for hook in hanging for n in range(9)])
    before = started(queues)
    well = a_subscription()

    queues.put([a_task(well, job_id=f"job_{n}") for n in range(3)])

    assert len(before) == 6
    assert started(queues) == [well.id]


def test_a_post_that_ends_makes_room_for_the_one_that_waited_longest() -> None:
    queues = queues_of(1)
    first, second = a_subscription(), a_subscription()
    queues.put([a_task(first, job_id=f"job_{n}") for n in range(2)])
    queues.put([a_task(second)])
    begun = queues.start()
    assert begun is not None

    queues.done(*begun, settled=True)

    assert started(queues) == [second.id]


def test_a_process_that_stops_starts_nothing() -> None:
    queues = queues_of(4)
    queues.put([a_task(RECEIVER)])

    queues.accepts_work = False

    assert queues.start() is None


def test_a_parcel_that_is_refused_leaves_nothing_behind() -> None:
    queues, late = queues_of(4), a_task(RECEIVER, sequence=2, earlier=1)

    refused = queues.put([late])

    assert (refused, queues.by_subscription) == ([late], {})
