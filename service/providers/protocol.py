"""The protocol that every provider implements, with its parameter and result types. No I/O."""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, Protocol

import msgspec

from service.domain.jobs.job import Job, Report
from service.domain.jobs.results import JobError
from service.providers.kit.input_schema import InputField
from service.providers.refusals import AccountRefused


class LostAnswerPolicy(StrEnum):
    """What to do when a submit got no answer, so that the provider may or may not have it."""

    RESEND = "resend"
    """Send it again: the operation is free, or the provider rejects a second task with this ref."""
    AWAIT = "await"
    """Do not send it again; wait for its callback."""
    FAIL = "fail"
    """Do not send it again; no callback will come, so the job fails and the user may retry it."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One operation of a provider.

    *answers_immediately*: the response to the submit is the result, and no callback follows.
    *batched*: tasks submitted together are sent in one request.
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
    """A validated input, split into what the provider gets and what configures the job.

    *input* is sent to the provider. *account* is an account suffix (an e-mail address) that pins
    one of several accounts. *task_uuid* is a reference of the client, in lower case, that must be
    unique within its tenant. *expected_parts* is the number of results that complete the job. A job
    that *uses_credits* waits while its account has none. *any_account*: the
    provider would choose one of the linked accounts, so this service may.
    """

    input: dict[str, Any]
    reply_url: str | None = None
    reply_ref: str | None = None
    task_uuid: str | None = None
    account: str | None = None
    max_jobs: int | None = None
    expected_parts: int = 1
    uses_credits: bool = True
    any_account: bool = False


class ProviderTask(msgspec.Struct, frozen=True, kw_only=True):
    """One job as it is sent to the provider.

    *callback_url* is None if the operation answers immediately. *account* is the suffix of the
    linked account that was chosen for a job that *any_account* may run.
    """

    ref: str
    operation: str
    input: dict[str, Any]
    callback_url: str | None = None
    account: str | None = None


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request to a provider, without its credential, which the HTTP client adds.

    *path* is appended to the base URL and may include a query string; if it is an absolute URL, it
    is used as it is, and the credential is not sent. *headers* are added to those of the client.
    """

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = {}


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The HTTP response of a provider: header names in lower case, *body* undecoded."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RetryLater(msgspec.Struct, frozen=True, kw_only=True):
    """The provider did not accept the task and it is safe to send it again.

    *retry_after_seconds* is None if the provider named no delay.
    """

    message: str
    retry_after_seconds: float | None = None


class Inconclusive(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome is unknown.

    After a submit: the provider may or may not have accepted the task. After a lookup: the response
    does not tell the state of the task.
    """

    message: str


class TaskNotFound(msgspec.Struct, frozen=True, kw_only=True):
    """The provider does not know the task: it never did, or it has deleted it."""

    message: str


Answer = Report | tuple[Report, ...] | RetryLater | AccountRefused | Inconclusive
"""What the response to a submit means for one task; a tuple if it holds results of the task."""
LookupResult = Sequence[Report] | TaskNotFound | Inconclusive
"""What one lookup found; reports of the state of the task, at least one, if it was found."""


def bearer(token: str, at: int) -> dict[str, str]:  # noqa: ARG001 - one of `Credential`
    """Send the token as `Authorization: Bearer …` (RFC 6750)."""
    return {"authorization": f"Bearer {token}"}


Credential = Callable[[str, int], Mapping[str, str]]
"""Makes the headers that authenticate one request from the account's token and the time.

The time is in microseconds since 1970; a token that is made for each request needs it.
"""


class LinkedAccounts(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider is asked which accounts are linked to our credential.

    *read* returns how many jobs each of them may run at once, by its suffix, as in
    `PreparedInput.account`; None if the reply cannot be read. It does not raise.
    """

    call: Call
    read: Callable[[Reply], Mapping[str, int] | None]


class AccountSettings(msgspec.Struct, frozen=True):
    """The environment variables of a provider's account, and the defaults of some of them.

    *token_variable* holds the credential, which *credential* puts into requests. *prefix* begins
    the names of the other variables. *base_url* is the default of `<prefix>_BASE_URL`, without a
    slash at its end. *max_jobs* is the default of `<prefix>_MAX_JOBS`: how many jobs may be in
    progress at the account at once. *keys_url* is the default of `<prefix>_KEYS_URL`, where the
    vendor publishes the keys of its signatures; None if it does not. *has_webhook_secret*:
    `<prefix>_WEBHOOK_SECRET` holds a secret that the vendor sends with each callback. *linked*: the
    credential may stand for several accounts.
    """

    token_variable: str
    prefix: str
    base_url: str
    max_jobs: int
    credential: Credential = bearer
    keys_url: str | None = None
    has_webhook_secret: bool = False
    linked: LinkedAccounts | None = None

    @property
    def base_url_variable(self) -> str:
        return f"{self.prefix}_BASE_URL"

    @property
    def max_jobs_variable(self) -> str:
        return f"{self.prefix}_MAX_JOBS"

    @property
    def keys_url_variable(self) -> str:
        return f"{self.prefix}_KEYS_URL"

    @property
    def webhook_secret_variable(self) -> str:
        return f"{self.prefix}_WEBHOOK_SECRET"


class CallbackSignature(Protocol):
    """How a vendor signs its callbacks."""

    def keys_request(self, keys_url: str | None) -> Call | None:
        """Build the request for the keys; None if the account's webhook secret is the key.

        *keys_url* is the account's `<prefix>_KEYS_URL`.
        """
        ...

    def read_keys(self, reply: Reply) -> Sequence[bytes]:
        """Read the response to `keys_request`; empty if it has no usable key."""
        ...

    def is_valid(
        self, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, at: int
    ) -> bool:
        """Verify a callback that arrived at *at*; header names are in lower case."""
        ...


class Callbacks(msgspec.Struct, frozen=True, kw_only=True):
    """How a provider sends callbacks.

    *methods* are the HTTP methods it may use, *success_status* is what it takes for "received".
    *signature* is checked in addition to that of our callback URL. *account_wide*: all callbacks
    of the account go to one URL, so *signature* alone authenticates them, and a task id in the
    body tells the job.
    """

    methods: frozenset[str] = frozenset({"POST"})
    success_status: int = 204
    signature: CallbackSignature | None = None
    account_wide: bool = False


UNSIGNED: Final = Callbacks()
"""Callbacks that only the signature in our own URL authenticates."""


class Provider(Protocol):
    """A provider, as the rest of the service uses it.

    *callbacks* is None if it sends none. *reply_url_field* is the input field in which its clients
    name a URL for the results, as the vendor calls it. *poll_seconds* is the shortest interval at
    which the state of its tasks may be read, for a provider without callbacks; None if it is never
    polled.
    """

    name: str
    title: str
    account: AccountSettings
    callbacks: Callbacks | None
    reply_url_field: str | None
    poll_seconds: float | None

    @property
    def operations(self) -> Mapping[str, Operation]:
        """The listed operations by name, as `GET /v1/providers` shows them."""
        ...

    def operation(self, name: str) -> Operation | None:
        """Find an operation by name; a provider may accept names that it does not list."""
        ...

    def prepare(self, operation: Operation, given: dict[str, Any]) -> PreparedInput:
        """Validate *given*.

        Raises Invalid with all errors at once; their paths are those of the job, as `input.style`.
        """
        ...

    def submit(self, tasks: Sequence[ProviderTask]) -> Call:
        """Build one request for *tasks*; more than one task only if the operation is batched."""
        ...

    def read_answer(self, reply: Reply, tasks: Sequence[ProviderTask]) -> dict[str, Answer]:
        """Return for the ref of each of *tasks* what *reply* means for it."""
        ...

    def read_callback(self, body: bytes, headers: Mapping[str, str]) -> list[Report]:
        """Read a callback; raises UnreadableJson if *body* is not in this provider's format.

        *headers* have names in lower case, and no credentials.
        """
        ...

    def lookup(self, job: Job, step: int) -> Call | None:
        """Build request number *step* (from 0) that asks for the state of *job*.

        Returns None if there is no such request. The next step is used if this one finds
        Inconclusive.
        """
        ...

    def read_lookup(self, reply: Reply, job: Job, step: int) -> LookupResult:
        """Read the response to lookup number *step*; *job* is as it was when that was built.

        Every report has the job's ref and no other.
        """
        ...

    def check(self) -> Call | None:
        """Build a free request that needs a valid credential; None if the provider has none."""
        ...

    def read_check(self, reply: Reply) -> JobError | None:
        """Return the error that every job would get, by *reply* to the check; None if it passed."""
        ...
