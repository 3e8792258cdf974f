"""What a node's `validate_inputs` answers: values that cannot be are refused before anything is loaded.

The host leaves the range of each input that such a method names to the node, and marks all of them for one
sentence, so a node names few.
"""

from __future__ import annotations

from collections.abc import Callable

from comfy_api.latest import io

NOT_WIRED = object()  # default of a socket; the host gives None for one that is wired


def verdict(node: type, rule: Callable[..., object], **values: object) -> bool | str:
    """True, or one sentence: a value is outside its widget's range, or `rule` raises it about all of them.

    None stands for what is wired in, another type for what the host could not read: nothing is known of
    either, so the rule is not asked.
    """
    widgets = {made.id: made for made in node.define_schema().inputs}  # type: ignore[attr-defined]
    try:
        known = [_known(widgets[name], value) for name, value in values.items()]
        if all(known):
            rule(**values)
    except ValueError as error:
        return str(error)
    return True


def offered(node: type, **values: object) -> None:
    """Refuse what a list does not offer, when the node runs: a null is taken for a wire before that."""
    widgets = {made.id: made for made in node.define_schema().inputs}  # type: ignore[attr-defined]
    for name, value in values.items():
        if not _known(widgets[name], value):
            raise ValueError(f"{name} is {value}; use one of {', '.join(widgets[name].options)}")


def first(*verdicts: bool | str) -> bool | str:
    """The first that refuses, else True."""
    return next((said for said in verdicts if said is not True), True)


def _known(widget, value) -> bool:
    """Whether this is a value of the widget; raises where it is one that the widget does not offer."""
    if isinstance(widget, io.Combo.Input):
        if isinstance(value, str) and value not in widget.options:
            raise ValueError(f"{widget.id} {value[:40]!r} is unknown; use {', '.join(widget.options)}")
        return isinstance(value, str)
    if isinstance(widget, io.Int.Input | io.Float.Input):
        number = isinstance(value, int | float)
        if number and not widget.min <= value <= widget.max:
            raise ValueError(f"{widget.id} {value:g} is out of range; use {widget.min:g} to {widget.max:g}")
        return number
    return isinstance(value, str)
