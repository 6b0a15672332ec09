"""Scores on disk, one line each, so that a run that was stopped can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from iog.errors import SettingsError
from iog.evaluation.protocol import ObjectScore

__all__ = ["FILE", "ScoreFile"]

FILE = "objects.jsonl"


class ScoreFile:
    """``objects.jsonl``: the run's settings, then a line for each object as it is scored.

    Args:
        folder: made if it is not there.
        settings: everything the scores depend on; JSON values only.

    Raises:
        SettingsError: the folder holds a run with other settings.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.path = folder / FILE
        folder.mkdir(parents=True, exist_ok=True)
        header = {"settings": json.loads(json.dumps(settings))}
        self.scores: dict[int, ObjectScore] = {}
        """By the object's number: what earlier runs scored, and then what is added."""
        lines = _whole_lines(self.path)
        if lines:
            _compare(lines[0].get("settings", {}), header["settings"], folder)
            for row in lines[1:]:
                number = int(row.pop("number"))
                self.scores[number] = ObjectScore.from_dict(row)
        else:
            self._append(header)

    def add(self, number: int, score: ObjectScore) -> None:
        """Keep object ``number``'s score; it is on disk when this returns."""
        self._append({"number": number, **asdict(score)})
        self.scores[number] = score

    def _append(self, row: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The file's lines; one that a kill cut short is cut off the file too."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [json.loads(line) for line in whole.splitlines()]


def _compare(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    before, now = _flat(before), _flat(now)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise SettingsError(
                f"{folder} holds scores of another run, with {name} = {before.get(name)!r} and "
                f"not {now.get(name)!r}: choose another --out, or remove the folder."
            )


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by their dotted names."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat
