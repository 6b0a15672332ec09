"""Boxes to masks for a whole data set: `iog masks`.

A source reads boxes, a mapper makes masks of them, the journal keeps what is finished, and a sink
writes all of it in the order of the input.
"""

from __future__ import annotations

from iog.bulk.task import MaskTask

__all__ = ["MaskTask"]
