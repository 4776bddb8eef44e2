"""The delivery: one event owed to one subscription, and what follows from each attempt."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from http import HTTPStatus
from typing import Final

import msgspec

from service.events import Event
from service.jobs import ENDS, Job
from service.subscriptions import Subscription, covers, matches
from service.times import SECOND, rfc3339, rfc3339_or_none

SCHEDULE: Final = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""Seconds before each try: at once, 5 s, 5 m, 30 m, 2 h, 5 h, 10 h, 14 h, 20 h, 24 h; then dead."""
JITTER: Final = 0.2
INTERMEDIATE_TRIES: Final = 2
RETRY_AFTER_CAP: Final = 86_400
EXCERPT_BYTES: Final = 16 * 1024
_OK, _REDIRECT = 200, 300
ATTEMPT_SECONDS: Final = 15
"""One deadline over name look-up, connect, headers and body."""
HELD: Final = 2**62
"""Due when its receiver can take it: such a delivery is parked, and costs the others nothing."""
LEASE: Final = 45 * SECOND
"""How long a courier may hold a delivery unsettled; what it cannot begin in time it gives up."""


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    CANCELED = "canceled"


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """*tries* is how many are used up; *claims* fences out a courier whose lease was taken over."""

    id: str
    tenant: str
    event_id: str
    subscription_id: str
    job_id: str | None
    sequence: int
    type: str
    status: DeliveryStatus
    created_at: int
    due_at: int
    tries: int = 0
    claims: int = 0
    settled_at: int | None = None


class Parcel(msgspec.Struct, frozen=True):
    """All a courier needs to carry one delivery.

    *behind* is the sequence of the newest earlier event of the job that was still owed to the
    subscription when this one was committed; 0: none was. A *probe* tries whether a held receiver
    is back, and uses up no try; *not_before* keeps to the rate of the subscription. One that was
    *claimed* lay in the store, where later events of its job may lie too.
    """

    delivery: Delivery
    subscription: Subscription
    payload: bytes
    behind: int = 0
    probe: bool = False
    not_before: int = 0
    claimed: bool = False

    @property
    def is_left(self) -> bool:
        """Whether nobody has it in hand though its receiver can take it now."""
        return self.subscription.is_open and not self.delivery.claims


class Hand(Enum):
    """Who takes a delivery that is being committed."""

    TAKEN = "taken"
    """The courier of this process, under a lease from its birth."""
    LEFT = "left"
    """Whoever claims it."""
    PARKED = "parked"
    """Nobody yet: its receiver has enough, or can take nothing."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one POST: a status code, or an *error* in words when there was none.

    *connect_ms* is TCP alone; it, *dns_ms* and *tls_ms* are None on a connection that was open
    already.
    """

    at: int
    duration_ms: float
    status_code: int | None = None
    error: str | None = None
    excerpt: str = ""
    retry_after_seconds: int | None = None
    dns_ms: float | None = None
    connect_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    headers: dict[str, str] = {}

    @property
    def success(self) -> bool:
        return self.status_code is not None and _OK <= self.status_code < _REDIRECT

    @property
    def words(self) -> str:
        return in_words(self.status_code, self.error)


def in_words(status_code: int | None, error: str | None) -> str:
    """Say what came of an attempt that failed."""
    return error or f"answered {status_code}"


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery becomes after an attempt; *disable* says why its subscription must end."""

    delivery: Delivery
    outcome: Outcome
    disable: str | None = None
    probe: bool = False


def wanted_by(
    event: Event, job: Job, standing: Iterable[Subscription], reply: Subscription | None
) -> list[Subscription]:
    """Find every subscription that *event* is owed to."""
    found = [subscription for subscription in standing if matches(subscription, event)]
    if reply is not None and reply.enabled and covers(job.reply_event_types, event.type):
        found.append(reply)
    return found


def owe(event: Event, subscription: Subscription, delivery_id: str) -> Delivery:
    """Owe *event* to *subscription*, due at once."""
    return Delivery(
        id=delivery_id,
        tenant=event.tenant,
        event_id=event.id,
        subscription_id=subscription.id,
        job_id=event.job_id,
        sequence=event.sequence,
        type=event.type,
        status=DeliveryStatus.PENDING,
        created_at=event.at,
        due_at=event.at,
    )


def settle(
    delivery: Delivery, outcome: Outcome, jitter: float, *, probe: bool = False
) -> Settlement:
    """Judge one attempt; *jitter* from -1 to 1 stretches or shortens the pause by up to 20 %.

    429 and 503 with Retry-After are obeyed, up to a day, and use up no try, unless they ask for
    no pause at all; 410 ends it all. A *probe* that fails uses up no try either.
    """
    now = outcome.at + int(outcome.duration_ms * 1000)
    if outcome.success:
        return _settled(delivery, DeliveryStatus.DELIVERED, outcome, now)
    if outcome.status_code == HTTPStatus.GONE:
        dead = _settled(delivery, DeliveryStatus.DEAD, outcome, now)
        return msgspec.structs.replace(dead, disable="The receiver answered 410 Gone.")
    if probe:
        parked = _again(delivery, outcome, delivery.tries, HELD)
        return msgspec.structs.replace(parked, probe=True)
    if (asked := pause_asked(outcome)) is not None:
        return _again(delivery, outcome, delivery.tries, now + asked)
    tries = delivery.tries + 1
    if tries >= allowed_tries(delivery.type):
        return _settled(delivery, DeliveryStatus.DEAD, outcome, now)
    pause = int(SCHEDULE[tries] * (1 + JITTER * jitter) * SECOND)
    return _again(delivery, outcome, tries, now + pause)


def pause_asked(outcome: Outcome) -> int | None:
    """How long its receiver asks to be left alone, in microseconds: a day at most."""
    busy = outcome.status_code in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
    if not busy or not outcome.retry_after_seconds:
        return None
    return min(outcome.retry_after_seconds, RETRY_AFTER_CAP) * SECOND


def allowed_tries(kind: str) -> int:
    """An intermediate event is tried once more at most: the next one tells more."""
    return INTERMEDIATE_TRIES if is_intermediate(kind) else len(SCHEDULE)


def is_intermediate(kind: str) -> bool:
    """Whether a later event of the same job follows one of type *kind*."""
    return kind.startswith("job.") and kind.removeprefix("job.") not in ENDS


def _settled(delivery: Delivery, status: DeliveryStatus, outcome: Outcome, now: int) -> Settlement:
    done = msgspec.structs.replace(
        delivery, status=status, tries=delivery.tries + 1, settled_at=now
    )
    return Settlement(delivery=done, outcome=outcome)


def _again(delivery: Delivery, outcome: Outcome, tries: int, due_at: int) -> Settlement:
    later = msgspec.structs.replace(delivery, tries=tries, due_at=due_at)
    return Settlement(delivery=later, outcome=outcome)


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """What was given up for one subscription: the *oldest* and *newest* of it, and why."""

    subscription_id: str
    count: int
    oldest: str
    newest: str
    status_code: int | None
    error: str | None


class Owed(msgspec.Struct, frozen=True):
    """When the *oldest* delivery that is owed was made, and how many *receivers* are in a state."""

    oldest: int | None
    receivers: Mapping[str, int]


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One POST of a delivery and what came back."""

    number: int
    at: str
    status_code: int | None
    duration_ms: float
    error: str | None
    excerpt: str
    dns_ms: float | None
    connect_ms: float | None
    tls_ms: float | None
    first_byte_ms: float | None
    headers: dict[str, str]


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery as users see it; *attempts* only when one is asked for."""

    id: str
    object: str = "delivery"
    event: str
    type: str
    subscription: str
    job: str | None
    status: DeliveryStatus
    tries: int
    created_at: str
    due_at: str | None
    settled_at: str | None
    attempts: list[AttemptView] | msgspec.UnsetType = msgspec.UNSET


def view(
    delivery: Delivery, attempts: Sequence[tuple[int, Outcome]] | msgspec.UnsetType = msgspec.UNSET
) -> DeliveryView:
    pending = delivery.status is DeliveryStatus.PENDING
    return DeliveryView(
        id=delivery.id,
        event=delivery.event_id,
        type=delivery.type,
        subscription=delivery.subscription_id,
        job=delivery.job_id,
        status=delivery.status,
        tries=delivery.tries,
        created_at=rfc3339(delivery.created_at),
        due_at=rfc3339(delivery.due_at) if pending and delivery.due_at < HELD else None,
        settled_at=rfc3339_or_none(delivery.settled_at),
        attempts=msgspec.UNSET
        if attempts is msgspec.UNSET
        else [attempt_view(number, outcome) for number, outcome in attempts],
    )


def attempt_view(number: int, outcome: Outcome) -> AttemptView:
    return AttemptView(
        number=number,
        at=rfc3339(outcome.at),
        status_code=outcome.status_code,
        duration_ms=outcome.duration_ms,
        error=outcome.error,
        excerpt=outcome.excerpt,
        dns_ms=outcome.dns_ms,
        connect_ms=outcome.connect_ms,
        tls_ms=outcome.tls_ms,
        first_byte_ms=outcome.first_byte_ms,
        headers=outcome.headers,
    )
