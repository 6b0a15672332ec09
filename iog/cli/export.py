"""`iog export`: models for OpenVINO, which serves them without torch, or as ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from iog.settings import Settings
from iog.tables import Table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from iog.engines.export import Crops
    from iog.models.spec import ModelSpec

__all__ = ["export"]

_EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
_PROMPTS: Final = {
    "astronaut.jpg": ((5, 4, 370, 512), (190, 320)),
    "cat.jpg": ((60, 8, 400, 299), (230, 150)),
    "coffee.jpg": ((130, 50, 480, 370), (300, 200)),
}
"""Boxes and clicks on the example photographs."""


def export(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|PATH...", help="Weights [default: IOG_MODEL].", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of exports, for elsewhere [default: one named as the format, in "
            "IOG_WEIGHTS_DIR].",
            file_okay=False,
        ),
    ] = None,
    form: Annotated[
        Literal["openvino", "onnx"],
        typer.Option("--format", help="openvino: for this package; onnx: to run elsewhere."),
    ] = "openvino",
) -> None:
    """Write models for OpenVINO or as ONNX files, and show how near they come to torch in fp32."""
    from iog.settings import available_cores

    settings = Settings.from_env()
    rows = []
    for name in model or [settings.model]:
        folder, found = _written(
            form,
            name,
            weights_dir=settings.weights_dir,
            output=output,
            sha256=settings.sha256_of(name),
            crops=_crops if _EXAMPLES.is_dir() else None,  # an image may hold the code alone
            threads=settings.threads or available_cores(),
        )
        typer.echo(f"Wrote {folder}", err=True)
        if not found:
            typer.echo("It was not compared with torch: onnxruntime is not installed.", err=True)
        for precision, parity in found.items():
            rows.append(
                (
                    folder.name,
                    precision,
                    f"{parity['logit']:.5f}",
                    f"{parity['probability']:.5f}",
                    f"{parity['iou']:.4f}",
                    f"{parity['worst_iou']:.4f}",
                )
            )
    head = ("model", "precision", "logit", "probability", "mean IoU", "worst IoU")
    title = "Differences from torch fp32 (logits: where it is between 0.001 and 0.999)"
    if rows:
        Table(title, head, tuple(rows), names=2).show()


def _written(form: str, name: str, **options: Any) -> tuple[Path, dict[str, dict[str, float]]]:  # noqa: ANN401
    """The folder of a new export, and how near each precision comes to torch."""
    if form == "onnx":
        from iog.engines.onnx_export import export_onnx

        folder, parity = export_onnx(name, **options)
        return folder, {"fp32": parity} if parity else {}
    from iog.engines.engine import read_manifest
    from iog.engines.export import export as write

    folder = write(name, **options)
    return folder, read_manifest(folder)["metadata"]["parity"]


def _crops(spec: ModelSpec) -> Crops:
    """The example photographs as a network sees them, with a click and with a second one."""
    import cv2
    import numpy as np

    from iog.predictor import Predictor
    from iog.prompts import Prompt

    recorder = _Recorder(spec)
    predictor = Predictor(recorder)
    for name, (box, (x, y)) in _PROMPTS.items():
        bgr = cv2.imread(str(_EXAMPLES / name))
        if bgr is None:
            continue
        image = np.ascontiguousarray(bgr[:, :, ::-1], dtype=np.uint8)
        background = (float(box[0] + 3), float(box[1] + 3))
        predictor.set_image(image)
        for negative in ((), (background,)):
            predictor.probability(Prompt(box, ((x, y),), negative))
    return recorder.seen


class _Recorder:
    """An engine that keeps what it is given."""

    name, device, precision = "recorder", "cpu", "fp32"
    has_click_branch, click_maps = True, 2

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.seen: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def encode(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Nothing to do."""
        return x

    def decode(
        self, encoded: NDArray[np.float32], clicks: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Keep both."""
        self.seen.append((encoded, clicks))
        probability: NDArray[np.float32] = clicks[0]
        return probability

    def nbytes(self, encoded: NDArray[np.float32]) -> int:
        """Nothing is cached."""
        return 0
