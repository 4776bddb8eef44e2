"""What a provider must implement, and the values it takes and returns. No I/O in here."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from service.domain.jobs.job import Job, Report
from service.domain.jobs.results import JobError
from service.providers.input_schema import InputField


class LostAnswerPolicy(StrEnum):
    """What to do when nobody knows whether a request reached the provider."""

    RESEND = "resend"
    """It costs nothing to repeat, or the provider knows the ref and refuses a second time."""
    AWAIT = "await"
    """Never send it again: its callback tells."""
    FAIL = "fail"
    """Never send it again and no callback will come: the user decides."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One thing a provider does.

    *at_once*: the answer to the submit is the result and no callback follows. *batched*: tasks
    submitted together travel in one request.
    """

    name: str
    summary: str
    inputs: tuple[InputField, ...]
    answers_immediately: bool
    on_lost_answer: LostAnswerPolicy
    batched: bool = False
    deadline_seconds: int = 3600
    answer_timeout_seconds: float = 60.0


class PreparedInput(msgspec.Struct, frozen=True, kw_only=True):
    """A checked input: what is sent, and what it asked of us rather than of the provider.

    *account* is a suffix (an e-mail) that pins one of several accounts; *task_uuid* a reference of
    the client that must be unique within its tenant, in lower case; *parts* how many results will
    end the job.
    """

    input: dict[str, Any]
    reply_url: str | None = None
    reply_ref: str | None = None
    task_uuid: str | None = None
    account: str | None = None
    max_jobs: int | None = None
    expected_parts: int = 1


class ProviderTask(msgspec.Struct, frozen=True, kw_only=True):
    """One job as its provider gets to see it; no *callback_url* where the answer is at once."""

    ref: str
    operation: str
    input: dict[str, Any]
    callback_url: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a provider; *path* is appended to its base URL and may bear a query.

    The credential is added by whoever sends it.
    """

    method: str
    path: str
    body: bytes | None = None


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back: header names in lower case; *body* raw."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RetryLater(msgspec.Struct, frozen=True, kw_only=True):
    """Not taken, try again: after *retry_after_seconds* where the provider said so."""

    message: str
    retry_after_seconds: float | None = None


class Inconclusive(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody can tell: a task may or may not have been taken, or a read says nothing of it."""

    message: str


class TaskNotFound(msgspec.Struct, frozen=True, kw_only=True):
    """The provider does not know the task: not any more, or it never did."""

    message: str


Answer = Report | RetryLater | Inconclusive
LookupResult = Sequence[Report] | TaskNotFound | Inconclusive
"""What one read found: what the provider says of the task by now, in one report or more."""


class AccountSettings(msgspec.Struct, frozen=True):
    """The environment variables of a provider's account, and the defaults of two of them.

    *token_variable* holds the credential. *prefix* begins the names of the other variables.
    *base_url* is the default of `<prefix>_BASE_URL`, without a slash at its end. *max_jobs* is the
    default of `<prefix>_MAX_JOBS`: how many jobs may be in progress at the account at once.
    """

    token_variable: str
    prefix: str
    base_url: str
    max_jobs: int

    @property
    def base_url_variable(self) -> str:
        return f"{self.prefix}_BASE_URL"

    @property
    def max_jobs_variable(self) -> str:
        return f"{self.prefix}_MAX_JOBS"


class Provider(Protocol):
    """What the rest of the house asks of a provider."""

    name: str
    title: str
    account: AccountSettings

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The operations known by name, as `GET /v1/providers` lists them."""
        ...

    def operation(self, name: str) -> Operation | None:
        """Find an operation; a provider may take names that it does not list."""
        ...

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        """Check *given*; Invalid names every fault at once, with paths as `input.style`."""
        ...

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        """Put *tasks* into one request; more than one only where the operation is batched."""
        ...

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        """Say for the ref of every task what *reply* means for it."""
        ...

    def read_callback(self, body: bytes) -> list[Report]:
        """Read a callback; Unreadable when it is not this provider's JSON."""
        ...

    def lookup(self, job: Job, step: int) -> Call | None:
        """Ask what became of *job*, by read number *step* from 0; None when there is none (left).

        The next read is worth a try where this one finds Unknown.
        """
        ...

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        """Say what read number *step* found; *job* as it was when it was asked for.

        No report names another ref than the job's.
        """
        ...

    def check(self) -> Call | None:
        """A read that costs nothing and needs the credential; None where there is none."""
        ...

    def read_check(self, reply: Reply) -> JobError | None:
        """Say what stands in the way of jobs by *reply* to the check; None: nothing does."""
        ...
