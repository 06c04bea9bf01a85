# The backend's image: also the one-shots and the exporter, which differ only in their command.

FROM python:3.13-slim-bookworm AS packages
WORKDIR /build
COPY requirements.txt .
# The lock holds a hash for every package; pip refuses one that differs.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

FROM python:3.13-slim-bookworm
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# The volume is created with this folder's owner.
RUN useradd --system --uid 10001 socialflow \
    && install -d -o socialflow /var/lib/socialflow/media /var/lib/socialflow/live
WORKDIR /srv
COPY --from=packages /venv /venv
COPY app ./app
COPY compose/__init__.py ./compose/__init__.py
COPY compose/standins ./compose/standins
USER socialflow
EXPOSE 8000 9000
CMD ["python", "-m", "app"]
