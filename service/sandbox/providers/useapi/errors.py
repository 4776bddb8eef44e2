"""Error bodies and scheduler entries of useapi.net."""

from typing import Final

from starlette.responses import Response

from service.sandbox.directives import Directives, parse_directives
from service.sandbox.ledger import Json, LedgerTask
from service.sandbox.web import json_response

PROVIDER: Final = "useapi"
UNAUTHORIZED: Final[Json] = {"error": "Unauthorized", "code": 401}
_ERRORS: Final[dict[int, Json]] = {
    400: {"error": "The request is not valid", "code": 400},
    401: UNAUTHORIZED,
    402: {"error": "Your useapi.net subscription has expired", "code": 402},
    403: {"error": "Your account is not allowed to do this", "code": 403},
    404: {"error": "Unable to find the configuration of the Runway account", "code": 404},
    # Two documented errors have no `code`: this one, and the 429 that comes from Runway.
    412: {"error": "You do not have enough credits to run this task."},
    422: {"error": "Your prompt was rejected by content moderation", "code": 422},
    429: {
        "error": "You have too many tasks running or pending. "
        "Please wait for some of them to finish before starting more."
    },
    596: {"error": "The session of your Runway account is broken, update it", "code": 596},
}


def error_body(status: int) -> Json:
    return _ERRORS.get(status, {"error": "Runway is not available", "code": status})


def response(status: int, error: str) -> Response:
    return json_response({"error": error, "code": status}, status)


def unknown_account() -> Response:
    """Build the answer to a call with the `email` of an account that is not linked."""
    return json_response(error_body(404), 404)


def no_credits() -> Response:
    return json_response(error_body(412), 412)


def has_directive(text: str) -> bool:
    return parse_directives(text) != Directives()


def busy_body(email: str, max_jobs: int, running: list[LedgerTask]) -> Json:
    """Build the body of useapi.net's own 429: the account is full, and which tasks it runs."""
    tasks = [
        {"email": email, "id": task.state[0]["id"], **scheduler_entry(task)} for task in running
    ]
    return {
        "error": f"Account {email} is busy executing {max_jobs} tasks",
        "runningTasks": {email: tasks},
        "code": 429,
    }


def scheduler_entry(task: LedgerTask) -> Json:
    """Return *task* as `GET /scheduler/` lists it."""
    return {"taskId": task.id, "replyUrl": task.reply_url, "replyRef": task.ref}
