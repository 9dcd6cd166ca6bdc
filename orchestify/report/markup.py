"""HTML as a tree, so that all text is escaped where it is written out."""

from __future__ import annotations

from typing import TypeAlias
from xml.etree.ElementTree import Element, tostring

Child: TypeAlias = Element | str


def node(tag: str, *children: Child, **attributes: str) -> Element:
    """Return an element with texts and elements in it.

    In names of attributes `_` stands for `-`, and one at the end is dropped (`class_`).
    """
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items()}
    made = Element(tag, names)
    for child in children:
        if isinstance(child, Element):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def document(page: Element) -> str:
    """Return an HTML document."""
    return "<!doctype html>\n" + tostring(page, encoding="unicode", method="html") + "\n"
