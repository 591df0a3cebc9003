# Rain in a container, with its Python package:
#
#     docker build -t rain .
#     docker run --rm --shm-size=1g -v "$PWD:/home/rain/work" rain python workflow.py
#
# `Client()` in workflow.py starts a Rain of its own. Objects are in /dev/shm, of which docker gives 64 MiB unless
# --shm-size says more.
ARG RUST_VERSION=1.88
ARG PYTHON_VERSION=3.13

FROM rust:${RUST_VERSION}-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /rain
COPY . .
RUN pip3 wheel --no-cache-dir --no-deps --wheel-dir=/wheels .

FROM python:${PYTHON_VERSION}-slim-bookworm
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl \
    && rm -rf /wheels \
    && useradd --create-home rain
USER rain
WORKDIR /home/rain/work
CMD ["rain", "--help"]
