"""The figures of the long form as `docs/endurance.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write"]

Figure = dict[str, Any]

_HEAD = """# Endurance

What the function was put through, and what it cost. `make endurance` runs it all and writes this
page; `make test` runs a short form of each. Every test is in `tests/endurance/`; requests go to a
real `iog serve` over HTTP, with one CPU thread for each worker. CPU seconds and memory are those of
the host and its workers together. Wall-clock times depend on what else the machine does: the load
average before each group is given.
"""
_TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # group: title, remark, columns as "heading=key"
    "fuzz": (
        "Fuzz",
        "Made by hypothesis. Bound for each answer: 1 s of CPU, no 500, no dead worker.",
        ("requests=shape", "cases=cases", "answers by status=statuses",
         "most CPU of one, s=slowest_cpu_s", "workers died=died"),
    ),
    "bombs": (
        "Bombs and limits",
        "Bounds: 1 s of CPU and 100 MB more memory than before.",
        ("request=bomb", "status=status", "CPU, s=cpu_s", "memory, MB=mb"),
    ),
    "soak": (
        "Soak",
        "iog-lite with a cache of 16 MB; half clicks on three photographs, half the requests of "
        "[request-cases.md](request-cases.md). Bound: at the end 5 % more memory than after 500 "
        "requests, no descriptor more.",
        ("requests=requests", "MB after 500=rss_mb_then", "MB at the end=rss_mb_end",
         "descriptors after 500=descriptors_then", "at the end=descriptors_end",
         "first thousand, ms=first_ms", "last thousand, ms=last_ms"),
    ),
    "concurrency": (
        "Concurrency",
        "iog-lite, different clicks on three photographs, all seen once before; every answer was "
        "the one that a single client gets. Clients run on the same cores.",
        ("workers=workers", "clients=clients", "requests=requests", "per second=per_second",
         "p50, ms=p50_ms", "p95, ms=p95_ms", "p99, ms=p99_ms"),
    ),
    "overload": (
        "Overload",
        "One worker, whose queue holds 16; each request has 16 boxes. Who is refused gets 503 with "
        "Retry-After.",
        ("clients=clients", "answered=answered", "refused=refused",
         "request alone, s=request_alone_s", "slowest answer, s=slowest_answer_s",
         "median refusal, s=median_refusal_s"),
    ),
    "starts": (
        "Starts",
        "`iog serve --workers 2`, five at a time, while a program keeps each core busy. Every one "
        "was ready, answered, ended on SIGTERM and left no process.",
        ("engine=engine", "starts=starts", "median until ready, s=median_s",
         "slowest, s=slowest_s"),
    ),
    "faults": ("Faults", "", ("what=fault", "outcome=outcome", "seconds=seconds")),
}  # fmt: skip


def write(page: Path, figures: Path, groups: Sequence[str]) -> None:
    """Write the page from the figures of all groups that were ever run.

    Args:
        page: the Markdown file.
        figures: holds a folder for each group, with ``figures.jsonl`` and ``about.json``.
        groups: names of the folders, in their order.
    """
    rows: list[Figure] = []
    runs: list[Figure] = []
    for group in groups:
        about, lines = figures / group / "about.json", figures / group / "figures.jsonl"
        if about.is_file():
            runs.append({"run": group, **json.loads(about.read_text())})
        if lines.is_file():
            rows += [json.loads(line) for line in lines.read_text().splitlines()]
    page.write_text("\n".join([_HEAD, *_sections(rows), *_runs(runs)]) + "\n")


def _sections(rows: list[Figure]) -> Iterator[str]:
    for group, (title, remark, columns) in _TABLES.items():
        mine = [row for row in rows if row["group"] == group]
        if mine:
            yield f"## {title}\n"
            if remark:
                yield remark + "\n"
            yield from _table(mine, columns)
            if group == "fuzz":
                yield f"\n{sum(row['cases'] for row in mine)} cases in all."
            yield ""


def _runs(runs: list[Figure]) -> Iterator[str]:
    yield "## Measured\n"
    columns = (
        *("group=run", "passed=passed", "took, s=s", "date=date", "commit=commit"),
        *("processor=processor", "cores=cores", "load before=load", "Python=python"),
    )
    yield from _table(runs, columns)


def _table(rows: list[Figure], columns: Sequence[str]) -> Iterator[str]:
    headings, keys = zip(*(column.split("=") for column in columns), strict=True)
    yield "| " + " | ".join(headings) + " |"
    yield "|" + " --- |" * len(keys)
    for row in rows:
        yield "| " + " | ".join(_text(row.get(key)) for key in keys) + " |"


def _text(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{key}: {_text(part)}" for key, part in value.items())
        case int():
            return f"{value:,}"
        case _:
            return str(value)
