"""The Runway accounts that are linked at useapi.net: their credits and their default reply URL."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

import msgspec

from service.sandbox.ledger import Json

DEFAULT_EMAIL: Final = "demo@example.com"
TASK_CREDITS: Final = 5
"""What every paid task costs. Runway's prices differ by model; the sandbox has one."""
_STORAGE_GB: Final = 500


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One linked account; it runs up to *max_jobs* tasks at once, *credits* are those of its plan.

    With fewer than `TASK_CREDITS` credits left it answers a paid task with 412.
    """

    email: str = DEFAULT_EMAIL
    max_jobs: int = 5
    credits: int = 1_000_000


class UseapiSetup(msgspec.Struct, frozen=True, kw_only=True):
    """What is set up at useapi.net: the linked *accounts*, at least one.

    *reply_url* gets the callbacks of every task that has no `replyUrl` of its own
    (useapi.net/docs/account-management/post-account).
    """

    accounts: tuple[Account, ...] = (Account(),)
    reply_url: str | None = None


class Accounts:
    """The accounts of *setup* and the credits each has used."""

    def __init__(self, setup: UseapiSetup) -> None:
        self.reply_url = setup.reply_url
        self._accounts = {account.email.lower(): account for account in setup.accounts}
        self._used: Counter[str] = Counter()

    def __iter__(self) -> Iterator[Account]:
        return iter(self._accounts.values())

    def find(self, email: str) -> Account | None:
        return self._accounts.get(email.lower())

    def only(self) -> Account | None:
        """Return the account if there is one only; calls without a task need no `email` then."""
        return next(iter(self)) if len(self._accounts) == 1 else None

    def can_pay(self, account: Account) -> bool:
        return account.credits - self._used[account.email] >= TASK_CREDITS

    def charge(self, account: Account) -> None:
        self._used[account.email] += TASK_CREDITS

    def features(self, account: Account) -> Json:
        """Build the answer of `GET /features`; the vendor's has more fields than it documents."""
        return {
            "permitted": {"storageGB": _STORAGE_GB, "numPlanCredits": account.credits},
            "used": {"numPlanCredits": self._used[account.email]},
        }

    def task_features(self, account: Account) -> Json:
        """Build the `features` in the answer to a submit."""
        return {
            "storageGB": _STORAGE_GB,
            "numPlanCredits_permitted": account.credits,
            "numPlanCredits_used": self._used[account.email],
        }

    def listed(self) -> Json:
        """Build the answer of `GET /accounts`."""
        return {
            account.email: {"email": account.email, "maxJobs": account.max_jobs} for account in self
        }
