"""The description of the API in /openapi.json. Bodies are read by our own code, so it is added."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from transprune.serve.request import ChatRequest

CHAT = "/v1/chat/completions"
_REFS = "#/components/schemas/{model}"


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """An error in OpenAI's shape."""

    error: ErrorDetail


_REASONS = {
    400: "The request is wrong; `param` says where",
    401: "No token, or a wrong one",
    403: "Another Host than this machine, on a server without tokens",
    404: "No such model or method here",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not plain JSON",
    429: "Too many requests are waiting; see Retry-After",
    500: "A mistake of the server; its log has more",
    503: "There is no memory for this request",
    504: "No whole answer in time",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": reason} for status, reason in _REASONS.items()
}


def describe(app: FastAPI) -> None:
    """Let an application describe the body of a chat request."""

    def openapi() -> dict[str, Any]:
        """Made once."""
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(app: FastAPI) -> dict[str, Any]:
    page = get_openapi(title=app.title, version=app.version, routes=app.routes)
    body = ChatRequest.model_json_schema(ref_template=_REFS)
    schemas = page.setdefault("components", {}).setdefault("schemas", {})
    # the route reads its own body, so FastAPI does not know what it holds
    schemas.update(body.pop("$defs", {}))
    schemas["ChatRequest"] = body

    content = {"application/json": {"schema": {"$ref": _REFS.format(model="ChatRequest")}}}
    page["paths"][CHAT]["post"]["requestBody"] = {"required": True, "content": content}
    return page
