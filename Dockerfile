# syntax=docker/dockerfile:1
# The command, for machines with Docker; on a CPU unless the build says otherwise:
#   docker build -t manyview .
#   docker build -t manyview:cuda --build-arg TORCH_INDEX= .          # PyPI's PyTorch, with CUDA: some 6 GB
#   docker run --rm -v "$PWD:/work" --shm-size 8g --user "$(id -u):$(id -g)" manyview pretrain photos --out runs/a
#   docker run --gpus all ... manyview:cuda ...
FROM python:3.12 AS build
WORKDIR /build
COPY pyproject.toml setup.py README.md LICENSE ./
COPY src ./src
# Here is a compiler, for the kernel that renders views.
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PYTHONUNBUFFERED=1 HOME=/tmp

WORKDIR /opt/manyview
COPY constraints.txt ./
COPY --from=build /wheels /wheels
# PyTorch first, from its own index where one is named; then the package, with what measures detectors and writes Parquet.
RUN if [ -n "$TORCH_INDEX" ]; then \
      pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" torch torchvision; \
    fi \
    && pip install --no-cache-dir --constraint constraints.txt "$(echo /wheels/*.whl)[detect,parquet,tensorboard,heif]" \
    && manyview --version

USER 65534:65534
WORKDIR /work
ENTRYPOINT ["manyview"]
CMD ["--help"]
