# Two images from one file, for amd64 and arm64; docs/deploy.md says when to use which.
#
#   docker build -t iog-standalone:0.1.0 .                `iog serve` on port 8080
#   docker build -t iog-nuclio:0.1.0 --target nuclio .    for nuctl deploy --run-image

ARG PYTHON_VERSION=3.11
# The version of the dashboard and of nuctl: that of CVAT 2.69 and later; 1.15.9 for 2.52 to 2.68.
ARG NUCLIO_LABEL=1.16.3
ARG NUCLIO_ARCH=amd64
ARG NUCLIO_ONBUILD_IMAGE=quay.io/nuclio/handler-builder-python-onbuild:${NUCLIO_LABEL}-${NUCLIO_ARCH}
ARG NUCLIO_UHTTPC_IMAGE=quay.io/nuclio/uhttpc:0.0.1-${NUCLIO_ARCH}

# ---- what both need: the pinned packages, wheels only, so that no compiler is ever wanted
FROM python:${PYTHON_VERSION}-slim AS packages
COPY requirements.txt requirements-torch.txt /opt/iog/
# Nuclio brings the nuclio_sdk of its own version.
RUN grep -v '^nuclio_sdk==' /opt/iog/requirements.txt > /opt/iog/serving.txt \
    && pip install --no-cache-dir --only-binary=:all: --no-deps --requirement /opt/iog/serving.txt
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    IOG_WEIGHTS_DIR=/opt/iog/weights \
    HOME=/tmp

# ---- the model, before the code is copied: found or fetched, checked, and exported. Another model
# than iog-lite needs torch for this, which stays out of the images.
FROM packages AS model
# A name from `iog weights list`, or that of NAME.pt in iog/models/.
ARG IOG_MODEL=iog-lite
# A file or an address to take published weights from, in place of Google Drive.
ARG IOG_MIRROR=
# Where torch comes from then: builds without CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /opt/iog/build
COPY dataloaders dataloaders
COPY iog iog
COPY networks networks
COPY deploy/prepare-model.sh ./
RUN mkdir -p /opt/iog/weights && sh prepare-model.sh "${IOG_MODEL}" "${IOG_MIRROR}" \
    && rm -rf /opt/iog/weights/.fetch

# ---- Nuclio's own parts
FROM ${NUCLIO_UHTTPC_IMAGE} AS uhttpc
FROM ${NUCLIO_ONBUILD_IMAGE} AS processor

# ---- (a) the function with Nuclio's processor inside
FROM packages AS nuclio
ARG PYTHON_VERSION
ARG IOG_MODEL=iog-lite
ENV IOG_MODEL=${IOG_MODEL}
COPY --from=processor /home/nuclio/bin/processor /usr/local/bin/processor
COPY --from=processor /home/nuclio/bin/py /opt/nuclio/
COPY --from=processor /home/nuclio/bin/py${PYTHON_VERSION}-whl /opt/nuclio/whl/
COPY --from=uhttpc /home/nuclio/bin/uhttpc /usr/local/bin/uhttpc
RUN python -m pip install --no-cache-dir --no-index --find-links /opt/nuclio/whl nuclio-sdk msgpack
COPY --from=model /opt/iog/weights /opt/iog/weights
COPY . /opt/nuclio/
RUN python -m compileall -q /opt/nuclio
LABEL org.opencontainers.image.title="IOG for CVAT, with Nuclio's processor" \
      org.opencontainers.image.description="Inside-Outside Guidance: interactive segmentation from a box and clicks" \
      org.opencontainers.image.licenses="MIT"
WORKDIR /opt/nuclio
USER 65532:65532
EXPOSE 8080
# nuctl waits for it.
HEALTHCHECK --interval=1s --timeout=3s CMD ["/usr/local/bin/uhttpc", "--url", "http://127.0.0.1:8082/ready"]
CMD ["processor"]

# ---- the package `iog`, as `pip install .` makes it
FROM packages AS wheel
WORKDIR /opt/iog/source
COPY . .
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /opt/iog/wheel .

# ---- (b) the function on its own; last, so that it is what a plain `docker build .` makes. It runs the
# exported model, for which it needs no torch.
FROM packages AS standalone
ARG IOG_MODEL=iog-lite
ARG VERSION=0.1.0
ARG REVISION=unknown
ENV IOG_MODEL=${IOG_MODEL}
RUN pip install --no-cache-dir --only-binary=:all: --no-deps \
        "$(grep '^nuclio_sdk==' /opt/iog/requirements.txt)"
COPY --from=model /opt/iog/weights /opt/iog/weights
RUN --mount=type=bind,from=wheel,source=/opt/iog/wheel,target=/opt/iog/wheel \
    pip install --no-cache-dir --no-deps --no-index /opt/iog/wheel/*.whl
WORKDIR /opt/iog
LABEL org.opencontainers.image.title="IOG for CVAT, on its own" \
      org.opencontainers.image.description="Inside-Outside Guidance: interactive segmentation from a box and clicks" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Nothing is written, save sockets and the like in /tmp: --read-only --tmpfs /tmp works.
USER 65532:65532
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/health', timeout=4)"]
ENTRYPOINT ["iog"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8080"]
