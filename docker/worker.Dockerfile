# The worker on NVIDIA GPUs. Build from the repository's root:
#   docker build -f docker/worker.Dockerfile -t avikam/worker:0.1.0 .
# FLASH=1 also compiles flash-attn: it takes an hour and many cores. Without it, attention uses the
# FlashAttention inside PyTorch and our own kernels.
ARG CUDA_VERSION=13.0.2
ARG BUILD_IMAGE=nvidia/cuda:${CUDA_VERSION}-devel-ubuntu24.04
ARG RUNTIME_IMAGE=nvidia/cuda:${CUDA_VERSION}-base-ubuntu24.04

FROM ${BUILD_IMAGE} AS build
ARG FLASH=0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY services ./services
COPY models ./models
RUN python3 -m venv /opt/avikam \
    && PIP_CONSTRAINT=constraints.txt /opt/avikam/bin/pip install --no-cache-dir '.[cuda,tracing]' \
    && if [ "$FLASH" = 1 ]; then \
           /opt/avikam/bin/pip install --no-cache-dir ninja packaging setuptools wheel \
           && PIP_CONSTRAINT=constraints.txt \
              /opt/avikam/bin/pip install --no-cache-dir --no-build-isolation '.[flash]'; \
       fi

# What is inside, as CycloneDX: docker build --target sbom --output . -f docker/worker.Dockerfile .
FROM build AS inventory
RUN python3 -m venv /opt/inventory \
    && /opt/inventory/bin/pip install --no-cache-dir cyclonedx-bom==7.5.0 \
    && /opt/inventory/bin/cyclonedx-py environment /opt/avikam --output-file /worker.cdx.json
FROM scratch AS sbom
COPY --from=inventory /worker.cdx.json /

FROM ${RUNTIME_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="avikam-worker" \
      org.opencontainers.image.description="Runs Avikam1 on NVIDIA GPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A C compiler: Triton compiles its launcher for the GPU it finds.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev python3 python3-dev \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 avikam && useradd --uid 10001 --gid 10001 --no-create-home avikam
COPY --from=build /opt/avikam /opt/avikam
COPY docker/healthcheck.py /opt/avikam/healthcheck.py
ENV PATH=/opt/avikam/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    TRITON_CACHE_DIR=/tmp/triton TORCHINDUCTOR_CACHE_DIR=/tmp/inductor
USER 10001:10001
EXPOSE 50051 9091
HEALTHCHECK --interval=10s --timeout=5s --start-period=900s --retries=5 \
    CMD ["python", "/opt/avikam/healthcheck.py", "127.0.0.1:50051"]
ENTRYPOINT ["avikam"]
CMD ["worker"]
