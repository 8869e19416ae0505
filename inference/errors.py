"""Errors, and whose fault each one is.

    HotseatError
    ├── InvalidRequest            client       a field of the request is wrong; `param` names it
    │   └── ContextLengthExceeded client       the prompt does not fit n_ctx
    ├── UnknownModel              client       no such model; the message lists near names
    ├── Overloaded                proxy        a queue is full; `retry_after_s` says when to come back
    ├── ShuttingDown              proxy        the server is draining
    ├── Unloaded                  proxy        the model was unloaded, by request, under a waiter
    ├── InsufficientMemory        environment  the model cannot fit the budget
    ├── LoadFailed                worker       the engine refused the model; the message has the cause
    ├── InvalidModelFile          environment  the model file is missing, truncated or hostile
    ├── WorkerCrashed             worker       the process died under a request; its last words follow
    ├── WorkerStalled             worker       no progress within the deadline
    ├── EngineFault               worker       decode failed inside a living worker
    └── ConfigError               environment  models.toml or the command line is wrong

Messages give expected, found, remedy. Errors cross the process border as ErrorInfo.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

Fault = Literal["client", "proxy", "worker", "provider", "environment"]


class ErrorInfo(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An error as a value. `code` finds its class again on the other side."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    n_tokens: int | None = None
    n_ctx: int | None = None


class HotseatError(Exception):
    code: ClassVar[str] = "internal_error"
    fault: ClassVar[Fault] = "proxy"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        n_tokens: int | None = None,
        n_ctx: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s
        self.n_tokens = n_tokens
        self.n_ctx = n_ctx

    def info(self) -> ErrorInfo:
        return ErrorInfo(
            code=self.code,
            message=self.message,
            param=self.param,
            retry_after_s=self.retry_after_s,
            n_tokens=self.n_tokens,
            n_ctx=self.n_ctx,
        )


class InvalidRequest(HotseatError):
    code = "invalid_request"
    fault = "client"


class ContextLengthExceeded(InvalidRequest):
    code = "context_length_exceeded"


class UnknownModel(HotseatError):
    code = "model_not_found"
    fault = "client"


class Overloaded(HotseatError):
    code = "overloaded"
    fault = "proxy"


class ShuttingDown(HotseatError):
    code = "shutting_down"
    fault = "proxy"


class Unloaded(HotseatError):
    code = "model_unloaded"
    fault = "proxy"


class InsufficientMemory(HotseatError):
    code = "insufficient_memory"
    fault = "environment"


class InvalidModelFile(HotseatError):
    code = "invalid_model_file"
    fault = "environment"


class LoadFailed(HotseatError):
    code = "load_failed"
    fault = "worker"


class WorkerCrashed(HotseatError):
    code = "worker_crashed"
    fault = "worker"


class WorkerStalled(HotseatError):
    code = "worker_stalled"
    fault = "worker"


class EngineFault(HotseatError):
    code = "engine_fault"
    fault = "worker"


class ConfigError(HotseatError):
    code = "config_error"
    fault = "environment"


_CLASSES: dict[str, type[HotseatError]] = {
    cls.code: cls
    for cls in (
        HotseatError,
        InvalidRequest,
        ContextLengthExceeded,
        UnknownModel,
        Overloaded,
        ShuttingDown,
        Unloaded,
        InsufficientMemory,
        InvalidModelFile,
        LoadFailed,
        WorkerCrashed,
        WorkerStalled,
        EngineFault,
        ConfigError,
    )
}


def from_info(info: ErrorInfo) -> HotseatError:
    """The error that `info` describes; an unknown code becomes a plain HotseatError."""
    return _CLASSES.get(info.code, HotseatError)(
        info.message,
        param=info.param,
        retry_after_s=info.retry_after_s,
        n_tokens=info.n_tokens,
        n_ctx=info.n_ctx,
    )
