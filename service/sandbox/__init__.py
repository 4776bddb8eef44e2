"""The sandbox: useapi.net, Runware and runway-ai.ai, emulated on one port from their documents."""

from service.sandbox.app import create_sandbox
from service.sandbox.web import Tokens

__all__ = ["Tokens", "create_sandbox"]
