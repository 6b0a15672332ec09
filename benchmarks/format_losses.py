"""What libraries lose of annotations that they read and write again: the table of docs/formats.md.

    python -m venv losses && losses/bin/pip install datumaro==1.13.12 supervision==0.31.2
    losses/bin/python benchmarks/format_losses.py
    .venv/bin/python benchmarks/format_losses.py iog

Their pins and this project's exclude each other, so they are installed apart. Each form gets one
data set with everything that people have in it; a probe is a text that the output should hold.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image

BOX = (
    '<box label="car" source="semi-auto" occluded="1" xtl="4.25" ytl="5.31" xbr="30.50" '
    'ybr="30.07" rotation="12.50" z_order="2" group_id="3" newer="kept">'
    '<attribute name="colour">red</attribute><attribute name="plate">007</attribute></box>'
)
CVAT = (
    "<annotations><version>1.1</version><meta><task><id>7</id><mode>annotation</mode><labels>"
    "<label><name>car</name><color>#ff0000</color><attributes>"
    "<attribute><name>colour</name><input_type>text</input_type></attribute>"
    "<attribute><name>plate</name><input_type>number</input_type></attribute>"
    "</attributes></label></labels>"
    "</task><dumped>today</dumped></meta>"
    f'<image id="5" name="a.png" width="64" height="48">{BOX}'
    '<tag label="car" source="manual"></tag></image></annotations>'
)
COCO = {
    "info": {"description": "kept"},
    "licenses": [],
    "categories": [{"id": 17, "name": "car", "supercategory": "vehicle"}],
    "images": [{"id": 901, "file_name": "a.png", "width": 64, "height": 48, "camera": "left"}],
    "annotations": [
        {"id": 5001, "image_id": 901, "category_id": 17, "bbox": [4.256789, 5.0, 26.0, 25.0],
         "area": 650.0, "iscrowd": 0, "segmentation": [], "attributes": {"colour": "red"},
         "reviewer": "ann"}
    ],
}  # fmt: skip
VOC = (
    "<annotation><folder>x</folder><filename>a.png</filename><size><width>64</width>"
    "<height>48</height><depth>3</depth></size><object><name>car</name><pose>Left</pose>"
    "<truncated>1</truncated><difficult>1</difficult><newer>kept</newer><bndbox><xmin>5.25</xmin>"
    "<ymin>6</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object></annotation>"
)
YOLO = "0 0.12345678 0.5 0.25 0.5\n0 0.5 0.5 0.25 0.25 0.987\n"
PROBES = {
    "cvat": {
        "attribute": r">red<", "leading zeros": r">007<", "two decimals": r'xtl="4\.25"',
        "rotation": r'rotation="12\.50?"', "z_order": r'z_order="2"', "group": r'group_id="3"',
        "source": r'source="semi-auto"', "occluded": r'occluded="1"', "tag": r"<tag ",
        "image id": r'<image id="5"', "label colour": r"#ff0000", "task id": r"<id>7</id>",
        "unknown attribute": r'newer="kept"',
    },
    "coco": {
        "annotation id": r'"id": ?5001', "image id": r'"id": ?901', "category id": r'"id": ?17',
        "bbox to six decimals": r"4\.256789", "attributes": r'"colour": ?"red"',
        "info": r'"description": ?"kept"', "unknown key": "reviewer",
        "unknown image key": "camera",
    },
    "voc": {
        "fraction": r"5\.25", "pose": "Left", "difficult": r"<difficult>1", "truncated":
        r"<truncated>1", "unknown element": r"<newer>kept",
    },
    "yolo": {
        "eight decimals": r"0\.12345678", "confidence": r"0\.987", "unknown key": "kept",
    },
}  # fmt: skip
_MANY = 50_000
Trip = Callable[[Path, Path], None]


def main() -> None:
    """Print the table."""
    if len(sys.argv) == 3:
        return _measure_memory(sys.argv[1], Path(sys.argv[2]))
    if sys.argv[1:] == ["iog"]:
        return _compare_memory("iog alone", "iog")
    for name in ("datumaro", "supervision"):
        print(name, metadata.version(name))
    for form, probes in PROBES.items():
        for library, trip in _TRIPS[form].items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    text = _written(form, trip, Path(folder))
                except Exception as error:
                    cause = error
                    while cause.__cause__ is not None and isinstance(cause.__cause__, Exception):
                        cause = cause.__cause__
                    print(f"{form} | {library} | refuses it: {cause}")
                    continue
            lost = [name for name, probe in probes.items() if not re.search(probe, text)]
            print(f"{form} | {library} | loses {', '.join(lost) or 'nothing'}")
    _compare_memory("datumaro alone", "datumaro")


def _compare_memory(*readers: str) -> None:
    """Print what a process needs that has imported a library, and one that has read a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "in" / "annotations.xml"
        (path.parent / "images").mkdir(parents=True)
        first = path.parent / "images" / "0.png"  # datumaro wants all of them to be there
        Image.new("RGB", (64, 48)).save(first)
        for n in range(1, _MANY):
            (first.parent / f"{n}.png").hardlink_to(first)
        image = CVAT[CVAT.index("<image") : CVAT.index("</annotations>")]
        images = (
            image.replace('id="5"', f'id="{n}"').replace("a.png", f"{n}.png") for n in range(_MANY)
        )
        path.write_text(CVAT[: CVAT.index("<image")] + "".join(images) + "</annotations>")
        for what in readers:
            told = subprocess.run(
                [sys.executable, __file__, what, str(path)], capture_output=True, text=True
            )
            print(
                f"CVAT XML, {_MANY:,} boxes | {what} | {told.stdout.strip() or told.stderr[-300:]}"
            )


def _written(form: str, trip: Trip, folder: Path) -> str:
    """All texts of what a library wrote."""
    import cv2

    source, target = folder / "in", folder / "out"
    picture = np.zeros((48, 64, 3), np.uint8)
    files = {
        "cvat": {"annotations.xml": CVAT},
        "coco": {"annotations/instances_default.json": json.dumps(COCO)},
        "voc": {"Annotations/a.xml": VOC, "ImageSets/Main/default.txt": "a\n"},
        "yolo": {
            "obj.names": "car\n", "obj.data": "classes = 1\nnames = obj.names\n"
            "train = train.txt\n", "train.txt": "obj_train_data/a.png\n",
            "obj_train_data/a.txt": YOLO, "data.yaml": "names: [car]\nnewer: kept\n",
        },
    }[form]  # fmt: skip
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    place = {"cvat": "images", "coco": "images/default", "voc": "JPEGImages"}
    image = source / place.get(form, "obj_train_data") / "a.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), picture)
    target.mkdir()
    trip(source, target)
    found = (
        path for path in target.rglob("*") if path.suffix in (".xml", ".json", ".txt", ".yaml")
    )
    return "\n".join(path.read_text() for path in found)


def _datumaro(form: str) -> Trip:
    def trip(source: Path, target: Path) -> None:
        from datumaro import Dataset  # type: ignore[import-not-found,unused-ignore]

        Dataset.import_from(str(source), form).export(str(target), form, save_media=False)

    return trip


def _supervision_coco(source: Path, target: Path) -> None:
    import supervision

    read = supervision.DetectionDataset.from_coco(
        str(source / "images/default"), str(source / "annotations/instances_default.json")
    )
    read.as_coco(annotations_path=str(target / "out.json"))


def _supervision_voc(source: Path, target: Path) -> None:
    import supervision

    read = supervision.DetectionDataset.from_pascal_voc(
        str(source / "JPEGImages"), str(source / "Annotations")
    )
    read.as_pascal_voc(annotations_directory_path=str(target))


def _supervision_yolo(source: Path, target: Path) -> None:
    import supervision

    folder = str(source / "obj_train_data")
    read = supervision.DetectionDataset.from_yolo(folder, folder, str(source / "data.yaml"))
    read.as_yolo(annotations_directory_path=str(target), data_yaml_path=str(target / "data.yaml"))


_TRIPS: dict[str, dict[str, Trip]] = {
    "cvat": {"datumaro": _datumaro("cvat")},
    "coco": {"datumaro": _datumaro("coco_instances"), "supervision": _supervision_coco},
    "voc": {"datumaro": _datumaro("voc_detection"), "supervision": _supervision_voc},
    "yolo": {"datumaro": _datumaro("yolo"), "supervision": _supervision_yolo},
}


def _measure_memory(what: str, path: Path) -> None:
    """Print the peak memory of this process after a file has been read."""
    if what.startswith("iog"):
        from iog.forms import open_form

        if what == "iog":
            form, _ = open_form(f"cvat:{path}", path.with_name("out"))
            assert sum(len(image.objects) for image in form.images()) == form.count()
    else:
        from datumaro import Dataset

        if what == "datumaro":
            read = Dataset.import_from(str(path.parent), "cvat")
            assert sum(len(item.annotations) for item in read) == 2 * _MANY
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
