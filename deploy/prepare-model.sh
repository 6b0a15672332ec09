#!/bin/sh
# Puts one model into an image while the image is built, so that a container needs no network.
# usage: prepare-model.sh MODEL [MIRROR]
#
# MODEL is a name from `iog weights list` or that of NAME.pt in iog/models/; MIRROR, a file or an
# address, takes the place of the published one. Runs where iog/ lies; what is fetched or made goes
# to IOG_WEIGHTS_DIR.
set -eu
model=${1:?usage: prepare-model.sh MODEL [MIRROR]}
mirror=${2:-}

has() {
    python -c "import importlib.util as u, sys; sys.exit(u.find_spec('$1') is None)"
}

# OpenVINO runs iog-lite as it comes with the project.
if has openvino && python -m iog.engines.engine "$model" "$IOG_WEIGHTS_DIR"; then
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

if ! python -m iog weights path "$model" >/dev/null 2>&1; then
    python -m iog weights fetch "$model" ${mirror:+--from "$mirror"} || {
        echo "The image was not built: the weights of $model could not be had. Build again with" \
            "the argument IOG_MIRROR=ADDRESS of a mirror (docs/deploy.md names the one known), or" \
            "put the file, downloaded by hand, into the folder iog/models/ that is deployed, or" \
            "choose IOG_MODEL=iog-lite, which comes with the project." >&2
        exit 1
    }
fi
python -m iog weights verify "$model"

# On CPUs the function runs OpenVINO's form of the model, which starts and answers sooner.
if has openvino; then
    python -m iog export "$model"
fi
