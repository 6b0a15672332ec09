"""Train the bundled model.

    python -m training training/configs/iog-lite.toml --data train_400.tar \\
        --initial mobilenet_v1_imagenet.npz --out runs/iog-lite

The same command goes on with a run that was stopped. The finished weights lie in the run's folder
as ``NAME.pt``, NAME being the architecture; ``iog serve --model PATH`` takes them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from errors import DatasetError, WeightsError
from training.config import ConfigError, TrainingConfig


def main() -> int:
    """Parse the command line and train; a wrong setting or data set is one sentence."""
    parser = argparse.ArgumentParser(prog="python -m training", description="Train a network.")
    parser.add_argument("config", type=Path, help="settings, see training/configs/")
    parser.add_argument(
        "--data", type=Path, required=True, help="folder or tar with instance masks"
    )
    parser.add_argument("--initial", type=Path, help="ImageNet weights of the backbone (.npz)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, help="overrides the settings' number of steps")
    arguments = parser.parse_args()
    from training.export import export
    from training.loop import train

    try:
        config = TrainingConfig.from_toml(arguments.config, steps=arguments.steps)
        last = train(config, data=arguments.data, initial=arguments.initial, out=arguments.out)
    except (ConfigError, DatasetError, WeightsError) as error:
        print(error, file=sys.stderr)
        return 2
    out = arguments.out / f"{config.architecture}.pt"
    print(f"wrote {export(last, out)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
