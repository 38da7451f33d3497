# The API and the recorder in one image. Two stages, so that the installer and its cache stay behind.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements.lock /tmp/requirements.lock
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir --no-input --require-hashes --no-deps -r /tmp/requirements.lock \
    && /venv/bin/python -m pip uninstall --yes --quiet pip setuptools

FROM debian:bookworm-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --home-dir /server --no-create-home --shell /usr/sbin/nologin streamrec \
    && mkdir -p /server/app /server/data /server/logs \
    && chown streamrec /server/data /server/logs
COPY --from=build /venv /venv
COPY alembic.ini /server/app/
COPY config /server/app/config
COPY migrations /server/app/migrations
COPY openapi /server/app/openapi
COPY streamrec /server/app/streamrec
COPY scripts/container-entry /usr/local/bin/streamrec
RUN cp /server/app/config/sample/gunicorn/sample-production.gunicorn.conf.py /server/app/config/gunicorn.conf.py \
    && /venv/bin/python -m compileall -q /server/app/streamrec

ENV STREAMREC_HOST=0.0.0.0 \
    STREAMREC_DATA_DIR=/server/data \
    STREAMREC_LOG_DIR=/server/logs \
    PYTHONPATH=/server/app \
    PYTHONDONTWRITEBYTECODE=1
USER 1000
WORKDIR /server/app
VOLUME ["/server/data", "/server/logs"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["streamrec", "health"]
ENTRYPOINT ["/usr/bin/tini", "--", "streamrec"]
CMD ["api", "--upgrade"]
