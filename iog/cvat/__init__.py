"""A CVAT server: rectangles of its jobs in, masks out, through cvat-sdk."""

from __future__ import annotations
