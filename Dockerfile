# The daemon and all commands, without the demo's PostgreSQL.
#
#   docker build -t cdc-webhooks .
#   docker run --rm -e CDC_DATABASE_URL cdc-webhooks cdc status
#
# Writes nothing, so `--read-only --cap-drop=ALL` suits it. Health: CDC_HTTP_PORT, then /healthz and /readyz.

# The release of Python that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
COPY constraints.txt ./
RUN pip install -c constraints.txt hatchling \
 && python -m venv --without-pip /opt/cdc
COPY pyproject.toml README.md CHANGELOG.md ARCHITECTURE.md ./
COPY sql ./sql
COPY docs ./docs
COPY cdc ./cdc
RUN python -m hatchling build -t wheel \
 && pip --python /opt/cdc/bin/python install -c constraints.txt dist/*.whl \
 && /opt/cdc/bin/cdc --version

FROM python:${PYTHON}-slim
LABEL org.opencontainers.image.title="cdc" \
      org.opencontainers.image.description="Committed changes of the interview suite's tables become signed POSTs"
ENV PATH=/opt/cdc/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/cdc /opt/cdc
# A number, so that a cluster can see that it is not root.
USER 10001:10001
# Finishes or abandons what is in flight, records it, and ends (docs/run.md, "Stop").
STOPSIGNAL SIGTERM
CMD ["cdc", "run"]
