# The standalone image with Ray, for kubernetes/ray-job.yaml. Build the standalone image first, then:
#
#   docker build -t iog-ray:0.1.0 --file deploy/ray.Dockerfile .
ARG BASE=iog-standalone:0.1.0
FROM ${BASE} AS ray
USER 0:0
COPY requirements-ray.txt requirements-ray-job.txt /opt/iog/
RUN pip install --no-cache-dir --only-binary=:all: --no-deps \
        --requirement /opt/iog/requirements-ray.txt --requirement /opt/iog/requirements-ray-job.txt
# Else Ray tells its makers of each cluster.
ENV RAY_USAGE_STATS_ENABLED=0
USER 65532:65532
