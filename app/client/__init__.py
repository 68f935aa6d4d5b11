"""The Python client of the service, sync and async. Needs httpx and pydantic, and nothing of the service itself.

from app.client import Client

with Client("http://127.0.0.1:8000") as r2f:
    deletion = r2f.submit({"model": …, "targets": [{"prompt": …, "answer": …}]})
"""

from app.client.asynchronous import AsyncClient
from app.client.errors import (
    BadRequest,
    BrokenDownload,
    ClientError,
    Conflict,
    KeyRefused,
    NotFound,
    NotUnderstood,
    ServerFailed,
    ServiceProblem,
    TooManyRequests,
    Unreachable,
)
from app.client.records import Deletion, Delivery, Download, Model, NewWebhook, Receipt, Webhook
from app.client.requests import AboutTarget, DeletionRequest, PassageTarget, PromptTarget, Retain
from app.client.synchronous import Client

__all__ = [
    "AboutTarget",
    "AsyncClient",
    "BadRequest",
    "BrokenDownload",
    "Client",
    "ClientError",
    "Conflict",
    "Deletion",
    "DeletionRequest",
    "Delivery",
    "Download",
    "KeyRefused",
    "Model",
    "NewWebhook",
    "NotFound",
    "NotUnderstood",
    "PassageTarget",
    "PromptTarget",
    "Receipt",
    "Retain",
    "ServerFailed",
    "ServiceProblem",
    "TooManyRequests",
    "Unreachable",
    "Webhook",
]
