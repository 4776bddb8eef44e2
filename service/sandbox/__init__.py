"""The sandbox: emulates all providers on one port, as they document themselves."""

from typing import Final

from service.sandbox.app import create_sandbox
from service.sandbox.providers.useapi.accounts import DEFAULT_EMAIL, Account, UseapiSetup
from service.sandbox.providers.useapi.assets import example_asset
from service.sandbox.web import Tokens

EXAMPLE_ASSET: Final = example_asset(DEFAULT_EMAIL)
"""The image at useapi.net that exists in the default account from the start."""

__all__ = ["EXAMPLE_ASSET", "Account", "Tokens", "UseapiSetup", "create_sandbox"]
