# Two images from one file: `edge` has the base dependencies, `worker` the `train` extra on top of them.
#   docker build --target edge -t freshet-edge .
#   docker build --target worker -t freshet-worker .
# Neither has a Java or a Kafka: KAFKA_BOOTSTRAP names their broker.

FROM python:3.11-slim AS wheels
WORKDIR /src
# Every wheel of the lock, each held against its hash: nothing is taken from an index after this line. The lock knows
# no extras, so the tools of development are fetched as well; neither image below installs them.
COPY requirements.lock ./
RUN pip download --no-cache-dir --only-binary :all: --no-deps --require-hashes -r requirements.lock -d /wheels
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY learners learners
COPY scoring scoring
COPY streams streams
# Built with the lock's hatchling, which pip finds in /wheels.
RUN pip wheel --no-deps --no-index --find-links /wheels -w /freshet .

FROM python:3.11-slim AS runtime
RUN useradd --create-home freshet
WORKDIR /app
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["freshet"]
CMD ["--help"]

FROM runtime AS edge
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,from=wheels,source=/freshet,target=/freshet \
    pip install --no-cache-dir --no-index --find-links /wheels --find-links /freshet "freshet"
USER freshet

FROM runtime AS worker
RUN --mount=type=bind,from=wheels,source=/wheels,target=/wheels \
    --mount=type=bind,from=wheels,source=/freshet,target=/freshet \
    pip install --no-cache-dir --no-index --find-links /wheels --find-links /freshet "freshet[train]"
USER freshet
