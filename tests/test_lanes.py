from service.lanes import ROOM, Lane
from tests.makers import a_parcel, a_subscription

RECEIVER = a_subscription(max_in_flight=2)


def test_jobs_are_carried_side_by_side() -> None:
    lane = Lane(RECEIVER)
    one, two = a_parcel(RECEIVER, job_id="job_1"), a_parcel(RECEIVER, job_id="job_2")

    taken = [lane.put(one), lane.put(two)]

    assert taken == [True, True]
    assert [lane.next(), lane.next(), lane.next()] == [one, two, None]


def test_the_next_event_of_a_job_waits_for_the_one_before() -> None:
    lane = Lane(RECEIVER)
    first, second = a_parcel(RECEIVER, sequence=1), a_parcel(RECEIVER, sequence=2, behind=True)
    lane.put(first)
    lane.put(second)

    before = [lane.next(), lane.next()]
    left = lane.done(first, settled=True)

    assert (before, left) == ([first, None], [])
    assert lane.next() is second


def test_what_waits_behind_a_failure_is_given_back_in_order() -> None:
    lane = Lane(RECEIVER)
    first, *others = [a_parcel(RECEIVER, sequence=n) for n in (1, 2, 3)]
    for parcel in (first, *others):
        lane.put(parcel)

    left = lane.done(first, settled=False)

    assert left == others
    assert (lane.held, lane.has_chain("job_1")) == (0, False)


def test_a_settled_chain_ends_with_its_last_parcel() -> None:
    lane, parcel = Lane(RECEIVER), a_parcel(RECEIVER)
    lane.put(parcel)

    left = lane.done(parcel, settled=True)

    assert (left, lane.held, lane.has_chain("job_1")) == ([], 0, False)


def test_a_parcel_behind_one_that_is_not_in_hand_is_not_taken() -> None:
    lane = Lane(RECEIVER)

    taken = lane.put(a_parcel(RECEIVER, behind=True))

    assert (taken, lane.held, lane.next()) == (False, 0, None)


def test_an_event_that_follows_no_other_may_start_a_chain_again() -> None:
    lane, first = Lane(RECEIVER), a_parcel(RECEIVER, sequence=1)
    lane.put(first)
    lane.done(first, settled=True)

    taken = lane.put(a_parcel(RECEIVER, sequence=2))

    assert taken
    assert lane.has_chain("job_1")


def test_events_of_no_job_wait_for_nothing() -> None:
    lane = Lane(RECEIVER)
    first, second = (a_parcel(RECEIVER, job_id=None, type="webhook.test") for _ in range(2))
    lane.put(first)
    lane.put(second)

    assert [lane.next(), lane.next()] == [first, second]


def test_a_lane_wants_no_more_hands_than_its_receiver_allows() -> None:
    lane = Lane(RECEIVER)
    for n in range(3):
        lane.put(a_parcel(RECEIVER, job_id=f"job_{n}"))

    wanted = []
    for active in range(4):
        lane.active = active
        wanted.append(lane.wants_hands)

    assert wanted == [True, True, False, False]


def test_an_empty_lane_wants_no_hands() -> None:
    assert not Lane(RECEIVER).wants_hands


def test_the_latest_form_of_a_subscription_counts() -> None:
    lane = Lane(RECEIVER)
    changed = a_subscription(id=RECEIVER.id, max_in_flight=9)

    lane.put(a_parcel(changed))

    assert lane.subscription is changed


def test_a_lane_is_full_when_it_has_no_room_and_has_room_again_later() -> None:
    lane, first = Lane(RECEIVER), a_parcel(RECEIVER, job_id="job_0")
    lane.put(first)
    for n in range(1, ROOM):
        lane.put(a_parcel(RECEIVER, job_id=f"job_{n}"))

    before = lane.full
    lane.done(first, settled=True)

    assert (before, lane.full) == (True, False)


def test_what_is_not_under_way_can_be_given_back() -> None:
    lane = Lane(RECEIVER)
    under_way, behind = (a_parcel(RECEIVER, sequence=n) for n in (1, 2))
    ready, after = (a_parcel(RECEIVER, job_id="job_2", sequence=n) for n in (1, 2))
    for parcel in (under_way, behind, ready, after):
        lane.put(parcel)
    lane.next()

    left = lane.give_back()

    assert left == [ready, after, behind]
    assert (list(lane.under_way.values()), lane.held, lane.next()) == ([under_way], 1, None)
    assert lane.done(under_way, settled=True) == []
    assert (lane.under_way, lane.held) == ({}, 0)


def test_a_newer_event_lets_go_of_progress_that_waits() -> None:
    lane = Lane(RECEIVER)
    first, progress, running = (
        a_parcel(RECEIVER, sequence=n, type=kind)
        for n, kind in enumerate(("job.progress", "job.progress", "job.running"), 1)
    )
    for parcel in (first, progress, running):
        lane.put(parcel)
    lane.next()

    old = lane.outdated(a_parcel(RECEIVER, sequence=4))

    assert (old, lane.held) == ([progress], 2)
    lane.done(first, settled=True)
    assert lane.next() is running


def test_a_receiver_of_every_event_loses_none() -> None:
    every = a_subscription(delivery="every")
    lane = Lane(every)
    for n in (1, 2):
        lane.put(a_parcel(every, sequence=n, type="job.progress"))

    assert lane.outdated(a_parcel(every, sequence=3)) == []
