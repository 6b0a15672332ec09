"""Marking layers of an OpenVINO model that calculate in float32 whatever precision is asked for.

OpenVINO knows the mark as a runtime attribute and writes it into its files, but offers no way to
set it from Python. So it is written into the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

__all__ = ["keep_full_precision"]

_CONVOLUTIONS: Final = ("Convolution", "GroupConvolution")


def keep_full_precision(model: Path, modules: Sequence[str]) -> None:
    """Mark the convolutions of some torch modules in a file of OpenVINO.

    Args:
        model: an ``.xml`` that was converted from torch; changed in place.
        modules: dotted names, as of ``named_modules``; what they contain is marked, too.
    """
    tree = ElementTree.parse(model)
    starts = tuple(f"__module.{module}{end}" for module in modules for end in "./")
    for layer in tree.iter("layer"):
        if layer.get("type") in _CONVOLUTIONS and layer.get("name", "").startswith(starts):
            _mark(layer)
    tree.write(model, encoding="utf-8", xml_declaration=True)


def _mark(layer: ElementTree.Element) -> None:
    information = layer.find("rt_info")
    if information is None:
        information = ElementTree.Element("rt_info")
        layer.insert(1, information)  # after <data>, where OpenVINO writes it
    ElementTree.SubElement(information, "attribute", {"name": "precise", "version": "0"})
