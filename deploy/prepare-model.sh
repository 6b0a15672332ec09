#!/bin/sh
# Puts one model into an image while the image is built, so that a container needs no network.
# usage: prepare-model.sh MODEL [MIRROR]
#
# MODEL is a name from `iog weights list` or that of weights in weights/; MIRROR, a file or an
# address, takes the place of the published one. Runs where cli.py lies; what is fetched or made goes
# to IOG_WEIGHTS_DIR.
set -eu
model=${1:?usage: prepare-model.sh MODEL [MIRROR]}
mirror=${2:-}

if ! python cli.py weights path "$model" >/dev/null 2>&1; then
    python cli.py weights fetch "$model" ${mirror:+--from "$mirror"} || {
        echo "The image was not built: the weights of $model could not be had. Build again with" \
            "the argument IOG_MIRROR=ADDRESS of a mirror (docs/deploy.md names the one known), or" \
            "put the file, downloaded by hand, into the folder weights/ that is deployed, or" \
            "choose IOG_MODEL=iog-lite, which comes with the project." >&2
        exit 1
    }
fi
python cli.py weights verify "$model"

# On CPUs the function runs OpenVINO's form of the model, which starts and answers sooner.
if python -c 'import openvino' 2>/dev/null; then
    python cli.py export "$model"
fi
