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

has() {
    python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"
}

# OpenVINO runs iog-lite as it comes with the project.
if has openvino && python -m networks.exports "$model" "$IOG_WEIGHTS_DIR"; then
    echo "$model: good, exported for OpenVINO."
    exit 0
fi

# The rest needs torch. An image that serves with OpenVINO has it only while this runs.
if ! has torch; then
    made=$(mktemp -d)
    trap 'rm -rf "$made"' EXIT
    list=/opt/iog/requirements-torch.txt
    install="pip install --no-cache-dir --only-binary=:all: --no-deps --quiet --target $made"
    # A second index is asked for torch alone.
    $install --extra-index-url "${TORCH_INDEX:?}" "$(grep '^torch==' "$list")"
    grep -v '^torch==' "$list" >"$made/others.txt"
    $install --requirement "$made/others.txt"
    export PYTHONPATH="$made"
fi

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
if has openvino; then
    python cli.py export "$model"
fi
