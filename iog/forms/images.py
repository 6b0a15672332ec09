"""Finds the image files that annotations name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from iog.bulk.records import ImageFile
from iog.forms.files import IMAGE_ENDINGS, Files, open_files

__all__ = ["Images"]

_ANY_CASE = (*IMAGE_ENDINGS, *(ending.upper() for ending in IMAGE_ENDINGS))


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

    def listed(self) -> list[str]:
        """All image files, sorted."""
        return [name for name in self._files.names() if name.lower().endswith(IMAGE_ENDINGS)]

    def find(self, name: str, *folders: str) -> ImageFile:
        """The file of a name, with its ending or without: CVAT leaves it out for a video's frames.

        Args:
            name: as the annotations have it.
            folders: what may lie between the root and it, such as a subset.

        Returns:
            The file. It need not be there: then whoever reads it fails.

        Raises:
            DatasetError: the name leads out of the data set.
        """
        places = [
            str(PurePosixPath(root, folder, name))
            for root in self._roots
            for folder in (*filter(None, folders), "")
        ]
        for ending in ("", *_ANY_CASE):
            for place in places:
                if self._files.has(place + ending):
                    return self._files.image(place + ending)
        return self._files.image(str(PurePosixPath(self._roots[0], name)))
