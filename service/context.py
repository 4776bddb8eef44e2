"""What the handlers are given: the parts of one running service."""

from collections.abc import Mapping

import msgspec

from service.domain.security.callback_signer import CallbackSigner
from service.providers.protocol import Provider
from service.runtime.clients.callback_verifier import CallbackVerifier
from service.runtime.clients.webhook_client import WebhookClient
from service.runtime.clock import Clock, IdSource
from service.runtime.observability.readiness import WriteCheck
from service.runtime.open_streams import HEARTBEAT_SECONDS, OpenStreams
from service.runtime.secret_box import SecretBox
from service.runtime.settings import Settings
from service.runtime.tasks import Supervisor
from service.runtime.wakeups import Wakeups
from service.transactions.job_request import JobFactory
from service.transactions.store_protocols import Store
from service.transactions.unit_of_work import Transactions
from service.workers.asset_manager import AssetManager
from service.workers.callback_intake import CallbackIntake
from service.workers.dispatcher import Dispatcher, DispatchInbox
from service.workers.recovery_worker import RecoveryWorker


class AppContext(msgspec.Struct, frozen=True, kw_only=True):
    """One running service."""

    settings: Settings
    store: Store
    providers: Mapping[str, Provider]
    job_factory: JobFactory
    transactions: Transactions
    intake: CallbackIntake
    verifiers: Mapping[str, CallbackVerifier]
    """By provider, for those whose vendor signs its callbacks."""
    assets: AssetManager
    webhook_client: WebhookClient
    inbox: DispatchInbox
    dispatcher: Dispatcher
    recovery_worker: RecoveryWorker
    wakeups: Wakeups
    streams: OpenStreams
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    supervisor: Supervisor
    readiness: WriteCheck
    signer: CallbackSigner
    secret_box: SecretBox
    clock: Clock
    ids: IdSource
