"""What a node has to tell its user besides its result."""

from __future__ import annotations

import logging

from comfy_execution.utils import get_executing_context


def say(notes: list[str]) -> dict[str, list[str]] | None:
    """Sentences to the log and onto the node that runs; returns the `ui` of its NodeOutput, None without any.

    The host keeps one such text a node: a later call replaces the earlier one there, so say everything at once.
    """
    if not notes:
        return None
    for note in notes:
        logging.warning("%s", note)
    show("\n".join(notes))
    return {"text": notes}


def show(text: str) -> None:
    """The text on the node that runs, in place of an earlier one."""
    context = get_executing_context()
    if context is None:  # no graph runs this
        return
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is not None:  # a graph can run without a server
        server.send_progress_text(text, context.node_id)
