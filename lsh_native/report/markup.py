"""HTML elements whose text is escaped unless it is itself markup."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"meta", "br", "hr"})


class Markup(str):
    """Text that is HTML already."""


def element(name: str, /, *children: str, **attributes: str) -> Markup:
    """Return an element; plain text in it and all values of attributes are escaped.

    Args:
        name: Of the element.
        children: What it holds.
        attributes: By name; a trailing underscore is dropped, other underscores become hyphens.

    Example:
        >>> element("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    head = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value)}"'
        for key, value in attributes.items()
    )
    if name in _VOID:
        return Markup(f"<{name}{head}>")
    return Markup(f"<{name}{head}>{join(children)}</{name}>")


def join(parts: Iterable[str]) -> Markup:
    """Return parts one after the other; plain text is escaped."""
    return Markup(
        "".join(part if isinstance(part, Markup) else html.escape(part) for part in parts)
    )
