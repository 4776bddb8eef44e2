"""The page at /docs, which shows the OpenAPI document."""

import html
from typing import Any, Final

import msgspec

_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Belfry API</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
color: #1d1d1f }} h2 {{ margin-top: 2rem; text-transform: capitalize }}
summary {{ cursor: pointer; padding: .3rem 0 }} code {{ font: 14px ui-monospace, monospace }}
b {{ display: inline-block; width: 4.5rem; font: 600 13px ui-monospace, monospace }}
pre {{ background: #f5f5f7; padding: 1rem; overflow: auto; border-radius: .5rem }}
</style>
<h1>Belfry API</h1>
<p>The OpenAPI 3.1 document: <a href="openapi.json">openapi.json</a>.
Send your API key as <code>Authorization: Bearer KEY</code>.</p>
{sections}
</html>"""


def render_page(document: dict[str, Any]) -> str:
    """Render *document* as one HTML page that loads nothing else."""
    groups: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups.setdefault(operation["tags"][0], []).append(_entry(method, path, operation))
    groups["webhooks"] = [
        _entry("post", name, hook["post"]) for name, hook in document["webhooks"].items()
    ]
    sections = "".join(f"<h2>{tag}</h2>{''.join(rows)}" for tag, rows in groups.items())
    return _PAGE.format(sections=sections)


def _entry(method: str, path: str, operation: dict[str, Any]) -> str:
    details: dict[str, Any] = {
        name: operation[name] for name in ("description", "parameters") if name in operation
    }
    if "requestBody" in operation:
        details["body"] = operation["requestBody"]["content"]["application/json"]["schema"]
    text = msgspec.json.format(msgspec.json.encode(details), indent=2).decode()
    return (
        f"<details><summary><b>{method.upper()}</b><code>{html.escape(path)}</code> "
        f"{html.escape(operation['summary'])}</summary><pre>{html.escape(text)}</pre></details>"
    )
