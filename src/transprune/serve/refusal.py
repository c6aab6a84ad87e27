"""A request that is not answered, as an OpenAI-shaped error."""

from __future__ import annotations

from typing import Any

from transprune.errors import ServeError

INVALID = "invalid_request_error"
CLIENT_GONE = 499  # nobody reads it; it is counted


class Refusal(ServeError):
    """Why a request is not answered.

    Args:
        message: what was expected, what came, what to do.
        status: HTTP status.
        kind: OpenAI's error type.
        param: the field that is wrong, as `messages.0.content`.
        code: a word for programs.
        retry_after: seconds after which the same request may be answered.
    """

    def __init__(
        self,
        message: str,
        status: int = 400,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind
        self.param = param
        self.code = code
        self.retry_after = retry_after

    @property
    def body(self) -> dict[str, Any]:
        """The JSON that OpenAI's clients read."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the status."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def busy(message: str, retry_after: int) -> Refusal:
    """Too many requests at this moment."""
    return Refusal(message, 429, "rate_limit_error", None, "queue_full", retry_after)


def too_slow(seconds: float) -> Refusal:
    """The time of a request is over."""
    return Refusal(
        f"no whole answer within {seconds:g} s; ask for fewer tokens, or send fewer requests at once",
        504,
        "timeout_error",
        code="timeout",
    )


def failed(status: int = 500) -> Refusal:
    """Something went wrong here; the log has it."""
    return Refusal(
        "the server could not answer this request; its log says why",
        status,
        "server_error",
        code="internal_error",
    )
