"""Finds the image files that annotations name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from iog.bulk.records import ImageFile
from iog.forms.files import IMAGE_ENDINGS, Files, open_files

__all__ = ["Images"]


class Images:
    """The image files of a data set.

    Args:
        files: where they are.
        roots: folders in there that names start from, the first that fits counts.
    """

    def __init__(self, files: Files, roots: Sequence[str] = ("images", "")) -> None:
        self._files = files
        self._roots = roots

    @classmethod
    def at(cls, images: Path | None, files: Files, roots: Sequence[str]) -> Images:
        """Those of a folder or archive of their own, or those of the data set."""
        return cls(open_files(images), ("", *roots)) if images is not None else cls(files, roots)

    @cached_property
    def _known(self) -> dict[str, str]:
        """File names by themselves, and without their endings: CVAT names a video's frames so."""
        found: dict[str, str] = {}
        for name in self._files.names():
            stem, dot, ending = name.rpartition(".")
            if dot + ending.lower() in IMAGE_ENDINGS:
                found[name] = name
                found.setdefault(stem, name)
        return found

    def listed(self) -> list[str]:
        """All image files, sorted."""
        return sorted(set(self._known.values()))

    def find(self, name: str, *folders: str) -> ImageFile:
        """The file of a name; ``folders`` may lie between the root and it, such as a subset.

        It need not be there: then whoever reads it fails.
        """
        for root in self._roots:
            for folder in (*filter(None, folders), ""):
                path = str(PurePosixPath(root, folder, name))
                if path in self._known:
                    return self._files.image(self._known[path])
        return self._files.image(str(PurePosixPath(self._roots[0], name)))
