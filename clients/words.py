"""What a server says about what went wrong, in sentences."""

import json
from typing import Any


def of_failed(job: dict[str, Any]) -> str:
    """Why a job ended without a result."""
    error = job.get("execution_error")
    if job["status"] == "cancelled" or not error:
        return f"the job was {job['status']}"
    return f"{error['node_type']} (node {error['node_id']}): {error['exception_message'].strip()}"


def of_refusal(code: int, body: bytes) -> str:
    """What the server said about a refused request, one line for each wrong input."""
    try:
        answer = json.loads(body)
        lines = [
            f"{node['class_type']} (node {key}): {error['message']}: {error['details']}"
            for key, node in (answer.get("node_errors") or {}).items()
            for error in node["errors"]
        ]
        error = answer["error"]
        return "\n".join(lines) or f"{error['message']} {error['details']}".strip()
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"HTTP {code}: {body.decode(errors='replace').strip()[:300]}"
