"""An SVG document made part of a page: no identifiers that clash, colours that follow the page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree

from lsh_native.report.markup import Markup

_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline(svg: str, *, prefix: str, label: str, colours: Mapping[str, str]) -> Markup:
    """Return the `svg` element of a document, to stand in a page.

    Args:
        svg: The document.
        prefix: Unique in the page; goes before each identifier.
        label: What a screen reader says instead.
        colours: Hexadecimal colours by name; each becomes the CSS variable of that name.

    Raises:
        ElementTree.ParseError: If the document is not XML.
    """
    # A generated document of our own; the parser never sees foreign input.
    root = ElementTree.fromstring(svg)
    width = float(root.attrib["viewBox"].split()[2])
    variables = {value: f"var(--{name})" for name, value in colours.items()}
    used = _references(root)
    for parent in root.iter():
        for child in [c for c in parent if _local(c.tag) in ("style", "metadata")]:
            parent.remove(child)
        attributes = {_local(name): value for name, value in parent.attrib.items()}
        if attributes.get("id") in used:
            attributes["id"] = f"{prefix}-{attributes['id']}"
        else:
            attributes.pop("id", None)
        if attributes.get("href", "").startswith("#"):
            attributes["href"] = f"#{prefix}-{attributes['href'][1:]}"
        for name, value in attributes.items():
            value = _REFERENCE.sub(rf"url(#{prefix}-\1)", value)
            attributes[name] = re.sub(
                r"#[0-9a-f]{6}\b", lambda match: variables.get(match[0], match[0]), value
            )
        parent.tag = _local(parent.tag)
        parent.attrib.clear()
        parent.attrib.update(attributes)
    root.attrib.update(
        {
            "role": "img",
            "aria-label": label,
            "width": f"{width:g}",
            "style": f"--width: {width:g}px",
        }
    )
    for name in ("height", "version"):
        root.attrib.pop(name, None)
    return Markup(re.sub(r"\n\s*", "\n", ElementTree.tostring(root, encoding="unicode")))


def _references(root: ElementTree.Element) -> set[str]:
    found: set[str] = set()
    for node in root.iter():
        for name, value in node.attrib.items():
            found.update(_REFERENCE.findall(value))
            if _local(name) == "href" and value.startswith("#"):
                found.add(value[1:])
    return found


def _local(name: str) -> str:
    """Drop the namespace: in a page, the elements of SVG have none."""
    return name.rpartition("}")[2]
