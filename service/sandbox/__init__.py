"""The sandbox: emulates useapi.net, Runware and runway-ai.ai on one port, as they document it."""

from service.sandbox.app import create_sandbox
from service.sandbox.web import Tokens

__all__ = ["Tokens", "create_sandbox"]
