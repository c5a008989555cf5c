# The gateway: no torch, no model. Build from the repository's root:
#   docker build -f docker/gateway.Dockerfile -t avikam/gateway:0.1.0 .
# Pin the base by digest for a release: --build-arg PYTHON_IMAGE=python:3.12.12-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=python:3.12.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY services ./services
# The wheel carries the embedded model; a gateway has no use for it.
RUN mkdir models \
    && python -m venv /opt/avikam \
    && PIP_CONSTRAINT=constraints.txt /opt/avikam/bin/pip install --no-cache-dir --no-compile '.[tracing]'

# What is inside, as CycloneDX: docker build --target sbom --output . -f docker/gateway.Dockerfile .
FROM build AS inventory
RUN pip install --no-cache-dir cyclonedx-bom==7.5.0 \
    && cyclonedx-py environment /opt/avikam --output-file /gateway.cdx.json
FROM scratch AS sbom
COPY --from=inventory /gateway.cdx.json /

FROM ${PYTHON_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="avikam-gateway" \
      org.opencontainers.image.description="Routes REST and gRPC requests to Avikam workers" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 avikam && useradd --uid 10001 --gid 10001 --no-create-home avikam
COPY --from=build /opt/avikam /opt/avikam
COPY docker/healthcheck.py /opt/avikam/healthcheck.py
ENV PATH=/opt/avikam/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 10001:10001
EXPOSE 8000 9000 9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=5 \
    CMD ["python", "/opt/avikam/healthcheck.py", "http://127.0.0.1:8000/livez"]
ENTRYPOINT ["avikam"]
CMD ["gateway"]
