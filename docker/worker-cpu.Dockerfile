# The worker on CPUs, with the embedded model. Build from the repository's root:
#   docker build -f docker/worker-cpu.Dockerfile -t avikam/worker-cpu:0.1.0 .
# TORCH_INDEX: an index with PyTorch's CPU wheels makes the image some gigabytes smaller.
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG TORCH_INDEX=""
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY services ./services
COPY models ./models
RUN python -m venv /opt/avikam \
    && PIP_CONSTRAINT=constraints.txt PIP_EXTRA_INDEX_URL="${TORCH_INDEX}" \
       /opt/avikam/bin/pip install --no-cache-dir --no-compile '.[worker,tracing]'
# The native int8 step, for every kind of x86-64: the final image has no compiler.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && /opt/avikam/bin/python -m avikam.model.native.build

# What is inside, as CycloneDX: docker build --target sbom --output . -f docker/worker-cpu.Dockerfile .
FROM build AS inventory
RUN pip install --no-cache-dir cyclonedx-bom==7.5.0 \
    && cyclonedx-py environment /opt/avikam --output-file /worker-cpu.cdx.json
FROM scratch AS sbom
COPY --from=inventory /worker-cpu.cdx.json /

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="avikam-worker-cpu" \
      org.opencontainers.image.description="Runs Avikam1 on CPUs" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 avikam && useradd --uid 10001 --gid 10001 --no-create-home avikam
COPY --from=build /opt/avikam /opt/avikam
COPY docker/healthcheck.py /opt/avikam/healthcheck.py
ENV PATH=/opt/avikam/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
EXPOSE 50051 9091
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=5 \
    CMD ["python", "/opt/avikam/healthcheck.py", "127.0.0.1:50051"]
ENTRYPOINT ["avikam"]
CMD ["worker"]
