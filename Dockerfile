# The service, from a checkout: docker build -t orchestify .
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY orchestify ./orchestify
COPY pytest_orchestify.py ./
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir ".[server,postgres,redis,otel,html]" \
    && /venv/bin/pip uninstall --yes pip

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin orchestify \
    && install --directory --owner orchestify --mode 700 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ORCHESTIFY_DATABASE=sqlite:////data/service.db
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["orchestify"]
# The configuration is mounted; its ledger: url is absolute, or leads to PostgreSQL.
CMD ["serve", "/config", "--host", "0.0.0.0", "--port", "8000"]
