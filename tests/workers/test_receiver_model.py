"""A state machine over dispatchers: receivers fail and recover, subscriptions change, in any order.

Store, queues and retry rules are the real ones; time and network are simulated.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from service.domain.deliveries.delivery import DeliveryStatus
from service.domain.deliveries.retry_policy import ATTEMPT_SECONDS, AttemptResult
from service.domain.jobs.job import Report, Status
from service.domain.jobs.results import Output
from service.domain.primitives.timestamps import SECOND
from service.domain.subscriptions.subscription import Subscription, signing_secrets
from tests.support.dispatch_simulation import Post, SimulatedCluster, SimulatedProcess
from tests.support.factories import a_new_job, a_report, a_subscription

PENDING = DeliveryStatus.PENDING
BEHAVIOURS = st.sampled_from(["ok", "ok", "ok", "fails", "hangs", "busy", "down", "gone"])
MAX_IN_FLIGHT = st.integers(1, 3)
INDEX = st.integers(0, 11)
RATES = st.sampled_from([None, None, 2])
DAY = 86_400


class ExpectedDelivery(msgspec.Struct):
    """What the machine knows about one delivery."""

    subscription: str
    job: str
    sequence: int
    type: str
    tries: int = 0
    delivered: bool = False


class ReceiverMachine(RuleBasedStateMachine):
    """Two processes (one on SQLite), a few jobs, and receivers with any behaviour."""

    cluster: SimulatedCluster
    delivery: str
    """The option `delivery` of the subscriptions: `latest` or `every`."""

    @initialize(
        subscriptions=st.lists(st.tuples(MAX_IN_FLIGHT, RATES, BEHAVIOURS), min_size=1, max_size=3)
    )
    def begin(self, subscriptions: list[tuple[int, int | None, str]]) -> None:
        self.cluster.begin()
        self.subscriptions: dict[str, Subscription] = {}
        self.behaviours: dict[str, str] = {}
        self.jobs: dict[str, str] = {}
        self.expected: dict[str, ExpectedDelivery] = {}
        self.progress = 0.0
        self.slots: dict[str, list[int]] = defaultdict(list)
        for max_in_flight, rate, behaviour in subscriptions:
            self._subscribe(behaviour, max_in_flight=max_in_flight, rate_limit=rate)
        for _ in range(4):
            self.submit()

    # Jobs and callbacks

    @rule(max_in_flight=MAX_IN_FLIGHT, rate=RATES, behaviour=BEHAVIOURS)
    def subscribe(self, max_in_flight: int, rate: int | None, behaviour: str) -> None:
        if len(self.subscriptions) < 4:
            self._subscribe(behaviour, max_in_flight=max_in_flight, rate_limit=rate)

    def _subscribe(self, behaviour: str, **fields: Any) -> None:
        subscription = a_subscription(**fields, delivery=self.delivery)
        self.subscriptions[subscription.id] = subscription
        self.behaviours[subscription.id] = behaviour
        self.cluster.run(self.cluster.store.subscriptions.put(subscription))

    @rule()
    def submit(self) -> None:
        if len(self.jobs) == 6:
            return
        new = a_new_job()
        self.jobs[new.job.id] = new.job.ref
        self._expect(self.cluster.add(new))

    @rule(together=st.booleans())
    def callbacks(self, together: bool) -> None:  # noqa: FBT001
        """One callback for each job, or two that share a transaction."""
        reports = [self._more_progress() for _ in range(1 + together)]
        for ref in self.jobs.values():
            self._expect(self.cluster.report(ref, *reports))

    @rule(which=INDEX, together=st.booleans())
    def last_callback(self, which: int, together: bool) -> None:  # noqa: FBT001
        done = a_report(status=Status.SUCCEEDED, output=Output(text="made"))
        for job_id in _pick(self.jobs, which):
            before = [self._more_progress()] if together else []
            self._expect(self.cluster.report(self.jobs.pop(job_id), *before, done))

    @rule(which=INDEX, between=st.sampled_from(["change", "pause", "kill", "answer"]))
    def events_during_an_attempt(self, which: int, between: str) -> None:
        """Two events; something releases the second while the first is sent; a third event."""
        self.callbacks(together=True)
        self.work(0)
        for subscription_id in self.subscriptions:
            if between == "change":
                self._change(subscription_id, description="changed")
            elif between == "pause":
                self._change(subscription_id, paused=True)
                self._change(subscription_id, paused=False)
        if between == "kill":
            self.kill(0)
        elif between == "answer":
            self.answer(which, 0)
        self.callbacks(together=False)
        self._answer_all()
        self.work(0)

    def _more_progress(self) -> Report:
        self.progress = min(1, self.progress + 0.05)
        return a_report(status=Status.RUNNING, progress=self.progress)

    def _expect(self, tasks: Any) -> None:
        for task in tasks:
            d = task.delivery
            self.expected[d.id] = ExpectedDelivery(d.subscription_id, d.job_id, d.sequence, d.type)

    # Subscriptions and receivers

    @rule(which=INDEX, behaviour=BEHAVIOURS)
    def change_behaviour(self, which: int, behaviour: str) -> None:
        for subscription_id in _pick(self.subscriptions, which):
            self.behaviours[subscription_id] = behaviour

    @rule(
        which=INDEX,
        change=st.sampled_from(
            [
                {"paused": True},
                {"paused": False},
                {"enabled": False},
                {"enabled": True, "disabled_reason": None, "held": False},
                {"description": "changed"},
            ]
        ),
    )
    def change(self, which: int, change: dict[str, Any]) -> None:
        for subscription_id in _pick(self.subscriptions, which):
            self._change(subscription_id, **change)

    @rule(which=INDEX)
    def rotate(self, which: int) -> None:
        """Rotate the secret, at most once a day, because only two secrets are valid at a time."""
        self._read_subscriptions()
        for subscription_id in _pick(self.subscriptions, which):
            old, until = self.subscriptions[subscription_id].secret, self.cluster.at + DAY * SECOND
            if self.subscriptions[subscription_id].previous_until < self.cluster.at:
                self._change(
                    subscription_id, secret=f"{old}'", previous_secret=old, previous_until=until
                )

    @rule(which=INDEX)
    def delete(self, which: int) -> None:
        for subscription_id in _pick(self.subscriptions, which):
            self.cluster.delete(subscription_id)
            del self.subscriptions[subscription_id], self.behaviours[subscription_id]

    def _change(self, subscription_id: str, **fields: Any) -> None:
        self.cluster.change(subscription_id, lambda subscription: replace(subscription, **fields))

    def _process(self, n: int) -> SimulatedProcess:
        return self.cluster.processes[n % len(self.cluster.processes)]

    def _read_subscriptions(self) -> None:
        self.subscriptions = {
            subscription_id: self.cluster.subscription(subscription_id)
            for subscription_id in self.subscriptions
        }

    # Processes and time

    @rule(n=st.integers(0, 1))
    def work(self, n: int) -> None:
        process = self._process(n)
        self._read_subscriptions()
        for task in self.cluster.claim(process):
            subscription = self.subscriptions[task.subscription.id]
            assert subscription.enabled, "no delivery to a disabled subscription"
            assert not subscription.paused, "no delivery to a paused subscription"
            assert subscription.held == task.probe, "only probes to a held receiver"
        for post in self.cluster.start(process):
            self._check_started(post)

    def _check_started(self, post: Post) -> None:
        started = post.task.delivery
        subscription = self.subscriptions[started.subscription_id]
        in_flight = [
            other.task.delivery
            for process in self.cluster.processes
            for other in process.posts
            if other.task.subscription.id == subscription.id
        ]
        assert len(in_flight) <= subscription.max_in_flight
        same_job = [one for one in in_flight if one.job_id == started.job_id]
        assert same_job == [started], "one attempt per job at a time"
        for delivery in self.cluster.deliveries(subscription.id, job=str(started.job_id)):
            if delivery.sequence < started.sequence:
                assert delivery.status is not PENDING, "earlier events are settled"
        secrets = {subscription.secret, subscription.previous_secret}
        assert secrets & set(signing_secrets(post.task.subscription, post.at))
        if subscription.rate_limit and not post.task.probe:
            self._check_rate(subscription, post.at)

    def _check_rate(self, subscription: Subscription, at: int) -> None:
        slots = self.slots[subscription.id]
        slots.append(at)
        slots.sort()
        pauses = [later - earlier for earlier, later in pairwise(slots)]
        assert min(pauses, default=SECOND) >= SECOND // (subscription.rate_limit or 1)

    @rule(which=INDEX, seconds=st.integers(0, 1))
    def answer(self, which: int, seconds: int) -> None:
        self.cluster.at += seconds * SECOND
        in_flight = {
            post.task.delivery.id: (process, post)
            for process in self.cluster.processes
            for post in process.posts
        }
        for delivery_id in _pick(in_flight, which):
            self._answer(*in_flight[delivery_id])

    def _answer(self, process: SimulatedProcess, post: Post) -> None:
        delivery = post.task.delivery
        behaviour = self.behaviours.get(delivery.subscription_id, "fails")
        result = _result(behaviour, post.at, max(self.cluster.at, post.at))
        if delivery.subscription_id in self.subscriptions:
            self._count(post, result)
        self.cluster.settle(process, post, result)

    def _count(self, post: Post, result: AttemptResult) -> None:
        known = self.expected[post.task.delivery.id]
        known.delivered |= result.success
        uses_no_try = post.task.probe or result.retry_after_seconds is not None
        if result.success or result.status_code == 410 or not uses_no_try:
            known.tries += 1

    @rule(times=st.integers(1, 4))
    def run_normally(self, times: int) -> None:
        """The common case: all processes send, all receivers answer, and time passes."""
        for _ in range(times):
            self.cluster.at += 6 * SECOND
            for n in range(len(self.cluster.processes)):
                self.work(n)
            self._answer_all()

    @rule(n=st.integers(0, 1))
    def kill(self, n: int) -> None:
        self.cluster.kill(self._process(n))

    @rule(seconds=st.sampled_from([1, 6, 31, 400, 4000, DAY, 3 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self._answer_all()
        self.cluster.at += seconds * SECOND

    def _answer_all(self) -> None:
        """End all attempts in flight."""
        for process in self.cluster.processes:
            for post in list(process.posts):
                self._answer(process, post)

    # Final checks

    def teardown(self) -> None:
        self._recover_all()
        for subscription_id in self.subscriptions:
            for delivery in self.cluster.deliveries(subscription_id):
                known = self.expected.pop(delivery.id)
                self._check_end(delivery.status, known)
                assert delivery.tries == known.tries, "attempts of held receivers use no try"
        assert all(one.subscription not in self.subscriptions for one in self.expected.values())

    def _check_end(self, status: DeliveryStatus, known: ExpectedDelivery) -> None:
        if status is DeliveryStatus.DELIVERED:
            assert known.delivered
        elif status is DeliveryStatus.SUPERSEDED:
            assert known.type == "job.progress"
        else:
            assert status is DeliveryStatus.DEAD, "every delivery is settled"

    def _recover_all(self) -> None:
        """Let all receivers work again, and run until no delivery is pending."""
        self.behaviours = dict.fromkeys(self.subscriptions, "ok")
        self._answer_all()
        for subscription_id in self.subscriptions:
            self._change(subscription_id, paused=False)
            if not self.cluster.subscription(subscription_id).enabled:
                self._change(subscription_id, enabled=True, held=False, disabled_reason=None)
        for _ in range(150):
            if not any(
                self.cluster.deliveries(subscription_id, status=PENDING)
                for subscription_id in self.subscriptions
            ):
                return
            while self._work_all():
                self._answer_all()
            self.cluster.at += 3700 * SECOND
        raise AssertionError("deliveries are still pending")

    def _work_all(self) -> bool:
        """Let all processes send; whether attempts are in flight then."""
        for n in range(len(self.cluster.processes)):
            self.work(n)
        return any(process.posts for process in self.cluster.processes)


def _pick(among: Collection[str], which: int) -> list[str]:
    """One of *among*, if there is any; *which* is drawn independently of their number."""
    return [sorted(among)[which % len(among)]] if among else []


def _result(behaviour: str, started_at: int, now: int) -> AttemptResult:
    took = min(now - started_at, ATTEMPT_SECONDS * SECOND) / 1000
    codes = {"ok": 200, "fails": 500, "busy": 429, "down": 503, "gone": 410, "hangs": None}
    return AttemptResult(
        at=started_at,
        duration_ms=took,
        status_code=codes[behaviour],
        error="no answer in 15 s" if behaviour == "hangs" else None,
        retry_after_seconds=5 if behaviour in ("busy", "down") else None,
    )


@pytest.fixture(params=["sqlite", "postgres"])
def cluster(request: pytest.FixtureRequest) -> Iterator[SimulatedCluster]:
    """One process on SQLite, two on PostgreSQL."""
    url = request.getfixturevalue(f"{request.param}_url")
    cluster = SimulatedCluster(url, 1 if request.param == "sqlite" else 2)
    yield cluster
    cluster.close()


@pytest.mark.parametrize("delivery", ["latest", "every"])
def test_deliveries_keep_their_guarantees_in_any_order_of_events(
    cluster: SimulatedCluster, delivery: str
) -> None:
    machine = type("Machine", (ReceiverMachine,), {"cluster": cluster, "delivery": delivery})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # shrinking takes longer than the whole test suite
            suppress_health_check=list(HealthCheck),
        ),
    )
