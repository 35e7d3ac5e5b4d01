# Image of DQM² Mirror: one program; the first argument is the command (server, grabber, migrate, …).
#
#   docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" --tag …:v1.0.0 .
#
# Builds that have to be reproducible pin the base images by digest:
#
#   --build-arg BUILD_IMAGE=python:3.11@sha256:… --build-arg RUNTIME_IMAGE=python:3.11-slim@sha256:…
ARG BUILD_IMAGE=python:3.11
ARG RUNTIME_IMAGE=python:3.11-slim

# npm and the packages that it downloads stay in this stage.
FROM ${BUILD_IMAGE} AS front-end
WORKDIR /build
COPY requirements-frontend.txt ./
RUN python -m pip install --no-cache-dir --require-hashes --requirement requirements-frontend.txt
COPY tools/frontend_libs.py tools/
COPY package.json package-lock.json ./
RUN python tools/frontend_libs.py

FROM ${BUILD_IMAGE} AS libraries
WORKDIR /build
RUN python -m venv /opt/libraries
COPY requirements.txt ./
# Wheels only: nothing is compiled, and installation runs no code of the packages.
RUN /opt/libraries/bin/python -m pip install --no-cache-dir --no-compile --only-binary :all: --require-hashes \
        --requirement requirements.txt \
    && /opt/libraries/bin/python -m pip uninstall --yes pip setuptools \
    && /opt/libraries/bin/python -m compileall -q -o 2 /opt/libraries/lib

FROM ${BUILD_IMAGE} AS program
WORKDIR /build
COPY . .
# Inputs of the other stages.
RUN rm -r tools package.json package-lock.json requirements.txt requirements-frontend.txt
# CMSWEB's manifest starts this script in the working directory.
RUN mv services/dqmsquare_k8_wrapper.sh . && rmdir services
ARG COMMIT=unknown
RUN printf '%s\n' "${COMMIT}" > COMMIT && python -m compileall -q -o 2 .

FROM ${RUNTIME_IMAGE}
ENV PATH=/opt/libraries/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONNODEBUGRANGES=1 \
    PYTHONOPTIMIZE=2 \
    MALLOC_ARENA_MAX=1 \
    MALLOC_MMAP_THRESHOLD_=131072 \
    MALLOC_TRIM_THRESHOLD_=131072 \
    ENV=production
WORKDIR /opt/dqmsquare_mirror
# The layers that change least come first.
COPY --from=libraries /opt/libraries /opt/libraries
COPY --from=front-end /build/static/vendor static/vendor
COPY --from=program /build ./
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="DQM² Mirror" \
      org.opencontainers.image.description="Mirror of the online DQM of CMS: grabbers, web server, migrations" \
      org.opencontainers.image.vendor="CMS DQM" \
      org.opencontainers.image.version="v1.0.0" \
      org.opencontainers.image.revision="${COMMIT}"
# Numeric, so that Kubernetes can verify that it is not root. The user owns no file of the image.
USER 1000:1000
EXPOSE 8084 18084 18085 18086
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "dqmsquare_mirror.py", "healthcheck"]
ENTRYPOINT ["python", "dqmsquare_mirror.py"]
CMD ["server"]
