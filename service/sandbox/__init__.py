"""The sandbox: emulates the providers on one port, as they document themselves."""

from service.sandbox.app import create_sandbox
from service.sandbox.web import Tokens

__all__ = ["Tokens", "create_sandbox"]
