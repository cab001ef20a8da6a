"""Errors as clients read them: problem details (RFC 9457) for our own API, OpenAI's envelope under /v1/videos.

A place that refuses raises `Refusal`, or one of the package's own errors; both forms are made here, and the OpenAPI
document says them for every operation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from wan22.errors import Wan22Error
from wan22.jobs.job import KeyConflictError, NotFoundError, RevisionError, StateError, StoreError

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request

OPENAI = "/v1/videos"
RETRY_AFTER = "2"
PROBLEM_JSON = "application/problem+json"

_CODES: dict[int, tuple[str, str]] = {  # the code of an error that has none of its own, and OpenAI's type
    400: ("bad_request", "invalid_request_error"),
    401: ("unauthorized", "authentication_error"),
    403: ("forbidden", "permission_error"),
    404: ("not_found", "invalid_request_error"),
    405: ("method_not_allowed", "invalid_request_error"),
    409: ("conflict", "invalid_request_error"),
    412: ("changed_meanwhile", "invalid_request_error"),
    413: ("too_large", "invalid_request_error"),
    415: ("unsupported_media_type", "invalid_request_error"),
    416: ("range_not_satisfiable", "invalid_request_error"),
    422: ("invalid_request", "invalid_request_error"),
    431: ("headers_too_large", "invalid_request_error"),
    428: ("revision_required", "invalid_request_error"),
    429: ("too_many_requests", "rate_limit_error"),
    500: ("internal_error", "server_error"),
    501: ("not_offered", "server_error"),
    502: ("upstream_failed", "server_error"),
    503: ("unavailable", "server_error"),
    507: ("insufficient_storage", "server_error"),
}
_OURS: tuple[tuple[type[Wan22Error], int, str], ...] = (
    (NotFoundError, 404, "not_found"),
    (StateError, 409, "wrong_state"),
    (RevisionError, 412, "changed_meanwhile"),
    (KeyConflictError, 422, "idempotency_key_reused"),
    (StoreError, 503, "store_unavailable"),
    (Wan22Error, 422, "invalid_request"),
)


class Refusal(HTTPException):
    """A request that is refused: status, a code for programs, a sentence for people, and the field that is meant."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """errors: all that is wrong, where there may be several: {"code", "where", "message"}."""
        super().__init__(status, detail, dict(headers or {}))
        self.code, self.param, self.errors = code, param, errors


def refused(path: str, refusal: Refusal) -> Response:
    """The answer to a request for `path` that is refused."""
    title = HTTPStatus(refusal.status_code).phrase
    headers = dict(refusal.headers or {})
    if refusal.status_code in (429, 503):
        headers.setdefault("Retry-After", RETRY_AFTER)
    if path == OPENAI or path.startswith(f"{OPENAI}/"):
        kind = _CODES.get(refusal.status_code, _CODES[500 if refusal.status_code >= 500 else 400])[1]
        error = {"message": refusal.detail, "type": kind, "param": refusal.param, "code": refusal.code}
        return JSONResponse({"error": error}, refusal.status_code, headers)
    problem: dict[str, Any] = {
        "type": "about:blank", "title": title, "status": refusal.status_code, "detail": refusal.detail,
        "code": refusal.code,
    }  # fmt: skip
    if refusal.param is not None:
        problem["param"] = refusal.param
    if refusal.errors:
        problem["errors"] = [dict(each) for each in refusal.errors]
    return JSONResponse(problem, refusal.status_code, headers, media_type=PROBLEM_JSON)


def as_refusal(error: Exception) -> Refusal:
    """Any exception of a request as what its client reads; a defect of ours says nothing of its inside."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        code = _CODES.get(error.status_code, _CODES[400])[0]
        return Refusal(error.status_code, code, _sentence(error), headers=error.headers)
    if isinstance(error, StoreError) and error.code == "full":
        return Refusal(507, _CODES[507][0], " ".join(str(error).split()))
    for kind, status, code in _OURS:
        if isinstance(error, kind):
            return Refusal(status, getattr(error, "code", code), " ".join(str(error).split()))
    return Refusal(500, "internal_error", "the server failed; its log says where")


def _sentence(error: HTTPException) -> str:
    if error.detail == HTTPStatus(error.status_code).phrase:
        return {404: "nothing is at this path", 405: "this path does not know the method"}.get(
            error.status_code, error.detail.lower()
        )
    return str(error.detail)


def _invalid(error: RequestValidationError) -> Refusal:
    """The first thing that is wrong, with its place; what was sent is not repeated."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    param = ".".join(place) or None
    if first["type"] == "json_invalid":
        return Refusal(400, "invalid_json", "the body is no JSON")
    message = first["msg"].removeprefix("Value error, ")
    return Refusal(422, "invalid_request", f"{param}: {message}" if param else message, param=param)


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Answer the errors of the paths of `app` in the form that each speaks; defects are the guard's to answer."""

    def answer(request: Request, error: Exception) -> Response:
        refusal = as_refusal(error)
        if refusal.status_code == 405:  # the router names those of one route
            known = (
                route
                for route in routes
                if isinstance(route, Route) and route.path_regex.match(request.url.path)
            )
            methods = {method for route in known for method in route.methods or ()}
            refusal.headers = {"Allow": ", ".join(sorted(methods))} if methods else refusal.headers
        return refused(request.url.path, refusal)

    for kind in (HTTPException, RequestValidationError, Wan22Error):
        app.add_exception_handler(kind, answer)


# What the OpenAPI document says of errors

_PROBLEM = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what would work."},
        "code": {"type": "string", "description": "For programs; does not change."},
        "param": {"type": "string", "description": "The field or parameter that is meant."},
        "errors": {
            "type": "array",
            "description": "All that is wrong, where there may be several.",
            "items": {
                "type": "object",
                "required": ["code", "where", "message"],
                "properties": {name: {"type": "string"} for name in ("code", "where", "message")},
            },
        },
    },
}
_ENVELOPE = {
    "type": "object",
    "description": "An error as OpenAI's API says it.",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_ALWAYS = (400, 401, 403, 413, 415, 422, 429, 431, 500, 503)
_HEADERS = {429: "Retry-After", 503: "Retry-After", 401: "WWW-Authenticate"}


def document(schema: dict[str, Any]) -> dict[str, Any]:
    """Add to an OpenAPI document the errors that each of its operations can answer."""
    components = schema.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    schemas |= {"Problem": _PROBLEM, "ErrorEnvelope": _ENVELOPE}
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    components["responses"] = {
        f"{name}{status}": _answer(media, name, status)
        for media, name in (("application/json", "ErrorEnvelope"), (PROBLEM_JSON, "Problem"))
        for status in _CODES
    }
    for path, operations in schema["paths"].items():
        form = "ErrorEnvelope" if path == OPENAI or path.startswith(f"{OPENAI}/") else "Problem"
        for method, operation in operations.items():
            answers = operation["responses"]
            statuses = {*_ALWAYS, *([404] if "{" in path else []), *([] if method == "get" else [409, 507])}
            statuses |= {
                int(status)
                for status, said in answers.items()
                if int(status) >= 400 and "content" not in said
            }
            for status in statuses:
                answers[str(status)] = {"$ref": f"#/components/responses/{form}{status}"}
            operation["responses"] = dict(sorted(answers.items()))
    return schema


def _answer(media: str, name: str, status: int) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "content": {media: {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }
    if header := _HEADERS.get(status):
        answer["headers"] = {header: {"schema": {"type": "string"}}}
    return answer
