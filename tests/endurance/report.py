"""The figures of the long form as `docs/endurance.md`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["write"]

Figure = dict[str, Any]

_HEAD = """# Endurance

How the function bears bad input, load and faults. `make endurance` runs every test and writes this
page; `make test-all` runs a short form of each. The tests are in `tests/endurance/`. They send
requests to a real `iog serve` over HTTP, with one CPU thread per worker. CPU seconds and memory are
sums over the host and its workers. Wall-clock times depend on what else the machine does, so the
last table gives the load average before each group.
"""
_TABLES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # group: title, remark, columns as "heading=key"
    "fuzz": (
        "Fuzz",
        "Hypothesis makes the requests. Bounds for each answer: 1 s of CPU, no 500, no dead "
        "worker.",
        ("requests=shape", "cases=cases", "answers by status=statuses",
         "most CPU of one, s=slowest_cpu_s", "workers died=died"),
    ),
    "bombs": (
        "Bombs and limits",
        "Bounds: 1 s of CPU, and 100 MB more memory than before the request.",
        ("request=bomb", "status=status", "CPU, s=cpu_s", "memory, MB=mb"),
    ),
    "soak": (
        "Soak",
        "iog-lite with a cache of 16 MB. Half of the requests are clicks on three photographs, "
        "half come from [request-cases.md](request-cases.md). Bounds: at the end at most 5 % more "
        "memory than after 500 requests, and no more descriptors.",
        ("requests=requests", "MB after 500=rss_mb_then", "MB at the end=rss_mb_end",
         "descriptors after 500=descriptors_then", "at the end=descriptors_end",
         "first thousand, ms=first_ms", "last thousand, ms=last_ms"),
    ),
    "concurrency": (
        "Concurrency",
        "iog-lite, different clicks on three photographs that the workers have seen once. Every "
        "answer equalled the one that a single client gets. The clients run on the same cores.",
        ("workers=workers", "clients=clients", "requests=requests", "per second=per_second",
         "p50, ms=p50_ms", "p95, ms=p95_ms", "p99, ms=p99_ms"),
    ),
    "overload": (
        "Overload",
        "One worker, whose queue holds 16 requests; each request has 16 boxes. A refused client "
        "gets 503 with Retry-After.",
        ("clients=clients", "answered=answered", "refused=refused",
         "request alone, s=request_alone_s", "slowest answer, s=slowest_answer_s",
         "median refusal, s=median_refusal_s"),
    ),
    "starts": (
        "Starts",
        "`iog serve --workers 2`, five at a time, while a program keeps each core busy. Every one "
        "became ready, answered, ended on SIGTERM and left no process.",
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
                yield f"\n{sum(row['cases'] for row in mine):,} cases in all."
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
