"""What a node has to tell its user besides its result."""

from __future__ import annotations

import logging
from typing import Any

from comfy_execution.utils import get_executing_context


def say(notes: list[str]) -> dict[str, list[str]] | None:
    """Sentences to the log and onto the node that runs; returns the `ui` of its NodeOutput, None without any.

    The host keeps one such text a node: a later call replaces the earlier one there,
    so say everything at once.
    """
    if not notes:
        return None
    for note in notes:
        logging.warning("%s", note)
    show("\n".join(notes))
    return {"text": notes}


def show(text: str) -> None:
    """The text on the node that runs, in place of an earlier one."""
    if (found := listening()) is not None:
        server, node = found
        server.send_progress_text(text, node)


def listening() -> tuple[Any, str] | None:
    """The server and the node that runs; None where no graph runs, or one without a server."""
    context = get_executing_context()
    if context is None:
        return None
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    return None if server is None else (server, context.node_id)
