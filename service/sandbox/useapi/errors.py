"""What useapi.net says when it takes no task."""

from typing import Final

from service.sandbox.ledger import Json, LedgerTask

UNAUTHORIZED: Final[Json] = {"error": "Unauthorized", "code": 401}
_ERRORS: Final[dict[int, Json]] = {
    401: UNAUTHORIZED,
    402: {"error": "Your useapi.net subscription has expired", "code": 402},
    # Two documented errors have no code: this one, and Runway's own 429.
    412: {"error": "You do not have enough credits to run this task."},
    422: {"error": "Your prompt was rejected by content moderation", "code": 422},
    429: {
        "error": "You have too many tasks running or pending. "
        "Please wait for some of them to finish before starting more."
    },
    596: {"error": "The session of your Runway account is broken, update it", "code": 596},
}


def error(status: int) -> Json:
    return _ERRORS.get(status, {"error": "Runway is not available", "code": status})


def busy(email: str, max_jobs: int, running: list[LedgerTask]) -> Json:
    """Say that the account is full: the form of 429 that shows what is running."""
    tasks = [{"email": email, "id": task.state[0]["id"], **tracked(task)} for task in running]
    return {
        "error": f"Account {email} is busy executing {max_jobs} tasks",
        "runningTasks": {email: tasks},
        "code": 429,
    }


def tracked(task: LedgerTask) -> Json:
    """Show *task* as the scheduler lists it."""
    return {"taskId": task.id, "replyUrl": task.reply_url, "replyRef": task.ref}
