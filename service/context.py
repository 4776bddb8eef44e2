"""What the doors work with: the parts of one running service."""

from collections.abc import Mapping

import msgspec

from service.courier import Courier
from service.feed import Feed
from service.intake import Intake
from service.loops import Loops
from service.moves import Mover
from service.orders import Desk
from service.ports import Chance, Clock, Store
from service.providers import Provider
from service.readiness import WriteCheck
from service.recovery import RecoveryWorker
from service.settings import Settings
from service.signing import CallbackTokens, Vault
from service.streams import HEARTBEAT_SECONDS, OpenStreams


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
