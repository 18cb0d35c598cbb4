# The runtime alone, for a CPU: no training stack, no network needed once it is built.
# Written without Docker at hand: this file has never been built.
#
#   make build && docker build -t spam-batch .
#   docker run --rm --network none --user "$(id -u):$(id -g)" \
#     -v "$PWD/models/spam:/models/spam:ro" -v "$PWD:/data" \
#     spam-batch classify inbox.csv --out labeled.csv --bundle /models/spam

FROM python:3.12-slim
COPY constraints.txt dist/spam_batch-*.whl /tmp/
RUN pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /tmp/spam_batch-*.whl)[cpu,arrow]" \
    && rm /tmp/*
WORKDIR /data
USER nobody
ENTRYPOINT ["spam-batch"]
CMD ["--help"]
