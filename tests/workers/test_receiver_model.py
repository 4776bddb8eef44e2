"""Receivers that fail, hang, recover, are paused, disabled, rotated and deleted, in any order.

The store, the lanes and the judgements are the real ones; time and the network are the machine's.
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
BEHAVIOURS = st.sampled_from(["well", "well", "well", "fails", "hangs", "busy", "down", "gone"])
MOST = st.integers(1, 3)
ANY = st.integers(0, 11)
RATES = st.sampled_from([None, None, 2])
DAY = 86_400


class Owed(msgspec.Struct):
    """What the machine knows of one delivery."""

    subscription: str
    job: str
    sequence: int
    type: str
    tries: int = 0
    arrived: bool = False


class ReceiverMachine(RuleBasedStateMachine):
    """Two workers (one on SQLite), a few jobs, and receivers in any mood."""

    cluster: SimulatedCluster
    mode: str
    """How the subscriptions want progress: `latest` or `every`."""

    @initialize(hooks=st.lists(st.tuples(MOST, RATES, BEHAVIOURS), min_size=1, max_size=3))
    def begin(self, hooks: list[tuple[int, int | None, str]]) -> None:
        self.cluster.begin()
        self.hooks: dict[str, Subscription] = {}
        self.moods: dict[str, str] = {}
        self.jobs: dict[str, str] = {}
        self.owed: dict[str, Owed] = {}
        self.progress = 0.0
        self.slots: dict[str, list[int]] = defaultdict(list)
        for most, rate, mood in hooks:
            self._subscribe(mood, max_in_flight=most, rate_limit=rate)
        for _ in range(4):
            self.submit()

    # What happens

    @rule(most=MOST, rate=RATES, mood=BEHAVIOURS)
    def subscribe(self, most: int, rate: int | None, mood: str) -> None:
        if len(self.hooks) < 4:
            self._subscribe(mood, max_in_flight=most, rate_limit=rate)

    def _subscribe(self, mood: str, **named: Any) -> None:
        hook = a_subscription(**named, delivery=self.mode)
        self.hooks[hook.id], self.moods[hook.id] = hook, mood
        self.cluster.run(self.cluster.store.subscriptions.put(hook))

    @rule()
    def submit(self) -> None:
        if len(self.jobs) == 6:
            return
        new = a_new_job()
        self.jobs[new.job.id] = new.job.ref
        self._owe(self.cluster.add(new))

    @rule(together=st.booleans())
    def callbacks(self, together: bool) -> None:  # noqa: FBT001
        """Each job gets further, by one callback or by two that one transaction takes in."""
        reports = [self._further() for _ in range(1 + together)]
        for ref in self.jobs.values():
            self._owe(self.cluster.report(ref, *reports))

    @rule(which=ANY, together=st.booleans())
    def last_callback(self, which: int, together: bool) -> None:  # noqa: FBT001
        done = a_report(status=Status.SUCCEEDED, output=Output(text="made"))
        for job_id in _one(self.jobs, which):
            before = [self._further()] if together else []
            self._owe(self.cluster.report(self.jobs.pop(job_id), *before, done))

    @rule(which=ANY, between=st.sampled_from(["change", "pause", "kill", "answer"]))
    def events_while_one_is_under_way(self, which: int, between: str) -> None:
        """Two events come, the first is on its way, its process lets go of the second, a third."""
        self.callbacks(together=True)
        self.work(0)
        for hook_id in self.hooks:
            if between == "change":
                self._change(hook_id, description="of no consequence")
            elif between == "pause":
                self._change(hook_id, paused=True)
                self._change(hook_id, paused=False)
        if between == "kill":
            self.kill(0)
        elif between == "answer":
            self.answer(which, 0)
        self.callbacks(together=False)
        self._run_out()
        self.work(0)

    def _further(self) -> Report:
        self.progress = min(1, self.progress + 0.05)
        return a_report(status=Status.RUNNING, progress=self.progress)

    def _owe(self, tasks: Any) -> None:
        for task in tasks:
            d = task.delivery
            self.owed[d.id] = Owed(d.subscription_id, d.job_id, d.sequence, d.type)

    # What users do

    @rule(which=ANY, mood=BEHAVIOURS)
    def mood(self, which: int, mood: str) -> None:
        for hook_id in _one(self.hooks, which):
            self.moods[hook_id] = mood

    @rule(
        which=ANY,
        change=st.sampled_from(
            [
                {"paused": True},
                {"paused": False},
                {"enabled": False},
                {"enabled": True, "disabled_reason": None, "held": False},
                {"description": "of no consequence"},
            ]
        ),
    )
    def change(self, which: int, change: dict[str, Any]) -> None:
        for hook_id in _one(self.hooks, which):
            self._change(hook_id, **change)

    @rule(which=ANY)
    def rotate(self, which: int) -> None:
        """At most once a day, because only two secrets are good at a time."""
        self._look()
        for hook_id in _one(self.hooks, which):
            old, until = self.hooks[hook_id].secret, self.cluster.at + DAY * SECOND
            if self.hooks[hook_id].previous_until < self.cluster.at:
                self._change(hook_id, secret=f"{old}'", previous_secret=old, previous_until=until)

    @rule(which=ANY)
    def delete(self, which: int) -> None:
        for hook_id in _one(self.hooks, which):
            self.cluster.delete(hook_id)
            del self.hooks[hook_id], self.moods[hook_id]

    def _change(self, hook_id: str, **named: Any) -> None:
        self.cluster.change(hook_id, lambda hook: replace(hook, **named))

    def _worker(self, n: int) -> SimulatedProcess:
        return self.cluster.processes[n % len(self.cluster.processes)]

    def _look(self) -> None:
        self.hooks = {hook_id: self.cluster.subscription(hook_id) for hook_id in self.hooks}

    # What workers do

    @rule(n=st.integers(0, 1))
    def work(self, n: int) -> None:
        process = self._worker(n)
        self._look()
        for task in self.cluster.claim(process):
            hook = self.hooks[task.subscription.id]
            assert hook.enabled, "a disabled receiver is left alone"
            assert not hook.paused, "a paused one too"
            assert hook.held == task.probe, "a held one is only probed"
        for post in self.cluster.start(process):
            self._check_begun(post)

    def _check_begun(self, post: Post) -> None:
        mine = post.task.delivery
        under_way = [p.task for w in self.cluster.processes for p in w.posts]
        here = [p.delivery for p in under_way if p.subscription.id == mine.subscription_id]
        hook = self.hooks[mine.subscription_id]
        assert len(here) <= hook.max_in_flight
        assert len([d for d in here if d.job_id == mine.job_id]) == 1, "one of a job at a time"
        for delivery in self.cluster.deliveries(mine.subscription_id, job=str(mine.job_id)):
            if delivery.sequence < mine.sequence:
                assert delivery.status is not PENDING, "an earlier one is over"
        known = {hook.secret, hook.previous_secret}
        assert known & set(signing_secrets(post.task.subscription, post.at))
        if hook.rate_limit and not post.task.probe:
            self._check_rate(hook, post.at)

    def _check_rate(self, hook: Subscription, at: int) -> None:
        slots = self.slots[hook.id]
        slots.append(at)
        slots.sort()
        pauses = [later - earlier for earlier, later in pairwise(slots)]
        assert min(pauses, default=SECOND) >= SECOND // (hook.rate_limit or 1)

    @rule(which=ANY, seconds=st.integers(0, 1))
    def answer(self, which: int, seconds: int) -> None:
        self.cluster.at += seconds * SECOND
        under_way = {p.task.delivery.id: (w, p) for w in self.cluster.processes for p in w.posts}
        for delivery_id in _one(under_way, which):
            self._answer(*under_way[delivery_id])

    def _answer(self, process: SimulatedProcess, post: Post) -> None:
        delivery = post.task.delivery
        mood = self.moods.get(delivery.subscription_id, "fails")
        outcome = _outcome(mood, post.at, max(self.cluster.at, post.at))
        if delivery.subscription_id in self.hooks:
            self._count(post, outcome)
        self.cluster.settle(process, post, outcome)

    def _count(self, post: Post, outcome: AttemptResult) -> None:
        known = self.owed[post.task.delivery.id]
        known.arrived |= outcome.success
        spared = post.task.probe or outcome.retry_after_seconds is not None
        if outcome.success or outcome.status_code == 410 or not spared:
            known.tries += 1

    @rule(times=st.integers(1, 4))
    def go_on(self, times: int) -> None:
        """The common case: all workers work, all receivers answer, and time goes by."""
        for _ in range(times):
            self.cluster.at += 6 * SECOND
            for n in range(len(self.cluster.processes)):
                self.work(n)
            self._run_out()

    @rule(n=st.integers(0, 1))
    def kill(self, n: int) -> None:
        self.cluster.kill(self._worker(n))

    @rule(seconds=st.sampled_from([1, 6, 31, 400, 4000, DAY, 3 * DAY]))
    def time_passes(self, seconds: int) -> None:
        self._run_out()
        self.cluster.at += seconds * SECOND

    def _run_out(self) -> None:
        """No POST outlasts its deadline."""
        for process in self.cluster.processes:
            for post in list(process.posts):
                self._answer(process, post)

    # What must be true in the end

    def teardown(self) -> None:
        self._all_is_well()
        for hook_id in self.hooks:
            for delivery in self.cluster.deliveries(hook_id):
                known = self.owed.pop(delivery.id)
                self._check_end(delivery.status, known)
                assert delivery.tries == known.tries, "what is held burns no try"
        assert all(one.subscription not in self.hooks for one in self.owed.values())

    def _check_end(self, status: DeliveryStatus, known: Owed) -> None:
        if status is DeliveryStatus.DELIVERED:
            assert known.arrived
        elif status is DeliveryStatus.SUPERSEDED:
            assert known.type == "job.progress"
        else:
            assert status is DeliveryStatus.DEAD, "nothing is lost, nothing is forgotten"

    def _all_is_well(self) -> None:
        """Everybody mends; then whatever is owed arrives or has been given up."""
        self.moods = dict.fromkeys(self.hooks, "well")
        self._run_out()
        for hook_id in self.hooks:
            self._change(hook_id, paused=False)
            if not self.cluster.subscription(hook_id).enabled:
                self._change(hook_id, enabled=True, held=False, disabled_reason=None)
        for _ in range(150):
            if not any(self.cluster.deliveries(hook_id, status=PENDING) for hook_id in self.hooks):
                return
            while self._all_work():
                self._run_out()
            self.cluster.at += 3700 * SECOND
        raise AssertionError("somebody is still owed something")

    def _all_work(self) -> bool:
        """Have all workers work; whether anything is under way then."""
        for n in range(len(self.cluster.processes)):
            self.work(n)
        return any(process.posts for process in self.cluster.processes)


def _one(among: Collection[str], which: int) -> list[str]:
    """Pick one, if there is any; what is drawn never depends on what is there."""
    return [sorted(among)[which % len(among)]] if among else []


def _outcome(mood: str, begun: int, now: int) -> AttemptResult:
    took = min(now - begun, ATTEMPT_SECONDS * SECOND) / 1000
    codes = {"well": 200, "fails": 500, "busy": 429, "down": 503, "gone": 410, "hangs": None}
    return AttemptResult(
        at=begun,
        duration_ms=took,
        status_code=codes[mood],
        error="no answer in 15 s" if mood == "hangs" else None,
        retry_after_seconds=5 if mood in ("busy", "down") else None,
    )


@pytest.fixture(params=["sqlite", "postgres"])
def cluster(request: pytest.FixtureRequest) -> Iterator[SimulatedCluster]:
    """One process is all that SQLite has; on PostgreSQL there are two."""
    url = request.getfixturevalue(f"{request.param}_url")
    cluster = SimulatedCluster(url, 1 if request.param == "sqlite" else 2)
    yield cluster
    cluster.close()


@pytest.mark.parametrize("mode", ["latest", "every"])
def test_promises_hold_whatever_receivers_do(cluster: SimulatedCluster, mode: str) -> None:
    machine = type("Machine", (ReceiverMachine,), {"cluster": cluster, "mode": mode})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],  # to shrink a failure takes longer than the suite
            suppress_health_check=list(HealthCheck),
        ),
    )
