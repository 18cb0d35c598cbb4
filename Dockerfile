# The runtime alone, for a CPU: no training stack, no network needed once it is built.
# Reviewed line by line against what `make build` makes, and never built: no container engine was
# at hand. tests/test_distribution.py repeats the review. With two wheels in dist/ pip refuses the
# second; remove the old one.
#
#   make build && docker build -t spam-batch .
#   docker run --rm --network none --user "$(id -u):$(id -g)" \
#     -v "$PWD/models/spam:/models/spam:ro" -v "$PWD:/data" \
#     spam-batch classify inbox.csv --out labeled.csv --bundle /models/spam

FROM python:3.12-slim
COPY requirements.txt dist/spam_batch-*.whl /tmp/wheel/
RUN pip install --no-cache-dir --require-hashes -r /tmp/wheel/requirements.txt \
    && pip install --no-cache-dir --no-deps /tmp/wheel/spam_batch-*.whl \
    && rm -r /tmp/wheel
WORKDIR /data
USER nobody
ENTRYPOINT ["spam-batch"]
CMD ["--help"]
