"""useapi.net's Runway API under `/v1/runwayml`: task creation, tasks and the scheduler."""

import itertools
from http import HTTPStatus
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.domain.primitives.timestamps import SECOND, rfc3339
from service.sandbox.directives import parse_directives
from service.sandbox.emulator import Emulator, delay_answer
from service.sandbox.ledger import Json, LedgerTask, now
from service.sandbox.providers.useapi import bodies, checks, errors
from service.sandbox.providers.useapi.accounts import Account, Accounts, UseapiSetup
from service.sandbox.providers.useapi.asset_calls import AssetCalls
from service.sandbox.providers.useapi.assets import AssetStore
from service.sandbox.providers.useapi.endpoints import IMAGES, VIDEOS
from service.sandbox.providers.useapi.forms import read_fields
from service.sandbox.providers.useapi.instant import InstantCalls
from service.sandbox.scenario import apply_directives
from service.sandbox.sender import USEAPI_RETRY_DELAYS
from service.sandbox.web import build_routes, has_token, json_response, retry_after_header

NAME: Final = errors.PROVIDER
PREFIX: Final = "/v1/runwayml"
_MAX_PAGE: Final = 1000
_RETENTION_SECONDS: Final = 7 * 24 * 3600


class Useapi:
    """The handlers of useapi.net.

    useapi.net documents two bodies of 429: its own and the one that comes from Runway. Forced
    errors alternate between them.
    """

    def __init__(self, emulator: Emulator, token: str, setup: UseapiSetup) -> None:
        self._emulator = emulator
        self._ledger = emulator.ledger
        self._token = token
        self._accounts = Accounts(setup)
        self._assets = AssetStore([account.email for account in self._accounts])
        self._instant = InstantCalls(emulator, self._accounts, self._assets)
        self._is_429_from_runway = itertools.cycle((False, True))

    def routes(self) -> list[Route]:
        instant = self._instant
        assets = AssetCalls(self._assets, instant.account_of)
        handlers = (
            *(("POST", f"/{endpoint}", self._create) for endpoint in (*IMAGES, *VIDEOS)),
            ("GET", "/frames/describe/{image_asset_id}", instant.describe),
            ("GET", "/features/", instant.features),
            ("GET", "/lipsync/voices/", instant.voices),
            ("GET", "/transcribe/", instant.transcribe),
            ("GET", "/image_upscaler/", instant.upscale_image),
            ("GET", "/text_to_image_preview/", instant.preview),
            ("POST", "/assets/", assets.upload),
            ("GET", "/assets/", assets.list_newest),
            ("GET", "/assets/{asset_id}", assets.show),
            ("DELETE", "/assets/{asset_id}", assets.delete),
            ("GET", "/tasks/{task_id}", self._show),
            ("GET", "/tasks/", self._list),
            ("GET", "/accounts/", self._list_accounts),
            ("GET", "/scheduler/", self._scheduled),
            ("DELETE", "/scheduler/{task_id}", self._unschedule),
        )
        routes: list[Route] = []
        for method, path, handler in handlers:
            routes += build_routes(self._ledger, method, PREFIX + path, handler, self._guard)
        return routes

    def _guard(self, request: Request) -> Response | None:
        if has_token(request, self._token):
            return None
        return json_response(errors.UNAUTHORIZED, 401)

    async def _create(self, request: Request) -> Response:
        endpoint = request.url.path.removeprefix(PREFIX).strip("/")
        body = await read_fields(request)
        if not isinstance(body, dict):
            return errors.response(400, "Request body must be a JSON object or a form")
        if error := checks.input_error(endpoint, body):
            return errors.response(400, error)
        account = self._choose_account(body)
        if isinstance(account, Response):
            return account
        rejection = self._forced_error(body, account) or self._no_capacity(body, account)
        return rejection or await self._accept(request, endpoint, body, account)

    def _choose_account(self, body: Json) -> Account | Response:
        """Find the account of the first asset in *body*, else the one named, else a free one."""
        ids = [value for name, value in body.items() if checks.is_asset_field(name)]
        assets = [self._assets.find(value) for value in ids if value is not None]
        if None in assets:
            return errors.response(400, "Unable to locate an asset of this request")
        email = next((asset.email for asset in assets if asset), None) or body.get("email")
        if email is not None:
            return self._accounts.find(email) or errors.unknown_account()
        accounts = list(self._accounts)
        free = (account for account in accounts if not self._is_full(body, account))
        return next(free, accounts[0])

    def _forced_error(self, body: Json, account: Account) -> Response | None:
        prompt = bodies.prompt_of(body)
        key = body.get("replyRef") or prompt
        error = self._ledger.count_forced_error(NAME, key, parse_directives(prompt))
        if error is None:
            return None
        error_body = errors.error_body(error.status)
        if error.status == HTTPStatus.TOO_MANY_REQUESTS and not next(self._is_429_from_runway):
            error_body = self._busy_body(body, account)
        if error.retry_after is not None:
            error_body = error_body | {"retryAfter": rfc3339(now() + error.retry_after * SECOND)}
        return json_response(error_body, error.status, retry_after_header(error.retry_after))

    def _no_capacity(self, body: Json, account: Account) -> Response | None:
        if self._is_full(body, account):
            return json_response(self._busy_body(body, account), 429)
        if _is_paid(body) and not self._accounts.can_pay(account):
            return errors.no_credits()
        return None

    def _is_full(self, body: Json, account: Account) -> bool:
        return len(self._running(account)) >= _max_jobs(body, account)

    def _busy_body(self, body: Json, account: Account) -> Json:
        max_jobs = _max_jobs(body, account)
        return errors.busy_body(account.email, max_jobs, self._running(account))

    def _running(self, account: Account) -> list[LedgerTask]:
        return [task for task in self._ledger.running(NAME) if task.account == account.email]

    async def _accept(
        self, request: Request, endpoint: str, body: Json, account: Account
    ) -> Response:
        task = _new_task(endpoint, body, account, self._accounts.reply_url)
        directives, first_state = task.directives, task.state[0]
        if task.paid:
            self._accounts.charge(account)
        features = self._accounts.task_features(account)
        response = bodies.submit_response(task, features)  # before the run changes the state
        scenario = apply_directives(
            bodies.scenario(first_state, body, directives, task.at, str(request.base_url)),
            directives,
            bodies.forged_callback(first_state, body),
        )
        self._assets.add_artifacts(account.email, scenario[-1].state[0])
        run = self._emulator.start(task, scenario, USEAPI_RETRY_DELAYS)
        if await delay_answer(request, task, run):
            return json_response(errors.error_body(504), 504)
        return json_response(response)

    async def _show(self, request: Request) -> Response:
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None:
            return errors.response(404, "Task not found")
        if task.directives.gone or now() - task.at > _RETENTION_SECONDS * SECOND:
            return errors.response(410, "Job has expired")
        return json_response(task.state[0])

    async def _list(self, request: Request) -> Response:
        """List the tasks of one account."""
        offset, limit = _read_number(request, "offset"), _read_number(request, "limit")
        if offset is None or not limit:
            return errors.response(
                400, "Parameters offset (0…1000) and limit (1…1000) are required"
            )
        account = self._instant.account_of(request)
        if isinstance(account, Response):
            return account
        statuses = set(filter(None, request.query_params.get("statuses", "").split(",")))
        found = [
            task.state[0]
            for task in self._ledger.newest(NAME)
            if not task.directives.gone
            and task.account == account.email
            and (not statuses or task.state[0]["status"] in statuses)
        ]
        return json_response(found[offset : offset + limit])

    async def _list_accounts(self, _: Request) -> Response:
        return json_response(self._accounts.listed())

    async def _scheduled(self, _: Request) -> Response:
        return json_response([errors.scheduler_entry(task) for task in self._ledger.running(NAME)])

    async def _unschedule(self, request: Request) -> Response:
        """Stop the callbacks of a task and free its slot; the task itself continues."""
        task = self._ledger.find(NAME, request.path_params["task_id"])
        if task is None or task.ended:
            return errors.response(404, "Unable to locate running task")
        task.reply_url = None
        self._ledger.release(task)
        return Response(status_code=204)


def _new_task(endpoint: str, body: Json, account: Account, reply_url: str | None) -> LedgerTask:
    at, prompt = now(), bodies.prompt_of(body)
    state = bodies.new_body(endpoint, body, account.email, at)
    return LedgerTask(
        provider=NAME,
        id=state["taskId"],
        operation=endpoint.replace("/", "."),
        prompt=prompt,
        at=at,
        directives=parse_directives(prompt),
        request=body,
        ref=body.get("replyRef"),
        reply_url=body.get("replyUrl") or reply_url,
        account=account.email,
        paid=_is_paid(body),
        state=(state,),
    )


def _is_paid(body: Json) -> bool:
    return not body.get("exploreMode")


def _max_jobs(body: Json, account: Account) -> int:
    return int(body.get("maxJobs") or account.max_jobs)


def _read_number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and int(text) <= _MAX_PAGE else None
