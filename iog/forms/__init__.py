"""File forms of boxes and masks, each a source and a sink of `iog masks`."""

from __future__ import annotations

from iog.forms.opening import FORMS, TO, Options, coco_file, open_form

__all__ = ["FORMS", "TO", "Options", "coco_file", "open_form"]
