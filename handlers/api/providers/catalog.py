"""The endpoint for the catalog of providers and their operations."""

from handlers.http.endpoint import ApiRequest, NoQuery
from handlers.http.pagination import ListResponse
from handlers.schemas.assets import render_rules
from handlers.schemas.providers import OperationView, ProviderView
from service.providers.assets import asset_apis
from service.providers.kit.input_schema import json_schema
from service.providers.protocol import Operation, Provider


async def list_providers(request: ApiRequest[NoQuery]) -> ListResponse[ProviderView]:
    """List the providers and their operations, with the JSON Schema of each input."""
    accounts, apis = request.context.settings.accounts, asset_apis()
    return ListResponse(
        data=[
            ProviderView(
                name=name,
                title=provider.title,
                configured=accounts[name].token is not None,
                operations=[
                    OperationView(
                        name=operation.name,
                        summary=operation.summary,
                        answers=_answers(provider, operation),
                        deadline_seconds=operation.deadline_seconds,
                        input=json_schema(operation.inputs),
                    )
                    for operation in provider.operations.values()
                ],
                assets=render_rules(apis[name].rules if name in apis else None),
            )
            for name, provider in request.context.providers.items()
        ]
    )


def _answers(provider: Provider, operation: Operation) -> str:
    if operation.answers_immediately:
        return "at once"
    return "by callback" if provider.callbacks is not None else "by polling"
