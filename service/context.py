"""What the doors work with: the parts of one running service."""

from collections.abc import Mapping

import msgspec

from service.domain.security.callback_signer import CallbackTokens
from service.providers.protocol import Provider
from service.runtime.clock import Chance, Clock
from service.runtime.observability.readiness import WriteCheck
from service.runtime.open_streams import HEARTBEAT_SECONDS, OpenStreams
from service.runtime.secret_box import Vault
from service.runtime.settings import Settings
from service.runtime.tasks import Loops
from service.runtime.wakeups import Feed
from service.transactions.job_request import Desk
from service.transactions.store_protocols import Store
from service.transactions.unit_of_work import Mover
from service.workers.callback_intake import Intake
from service.workers.dispatcher import Courier
from service.workers.recovery_worker import RecoveryWorker


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """One running service."""

    settings: Settings
    store: Store
    providers: Mapping[str, Provider]
    desk: Desk
    mover: Mover
    intake: Intake
    courier: Courier
    recovery: RecoveryWorker
    feed: Feed
    streams: OpenStreams
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    loops: Loops
    readiness: WriteCheck
    tokens: CallbackTokens
    vault: Vault
    clock: Clock
    chance: Chance
