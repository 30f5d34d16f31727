# One image for web, worker and beat. The command decides: `serve` is the default.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --require-hashes -r requirements.txt
WORKDIR /app
COPY . .
# Collecting static files reads the settings; none of these values reaches the final image's environment.
RUN ENVIRONMENT=production APP_HOST=app.example.com SITES_DOMAIN=example.net VAR_DIR=/tmp \
    SECRET_KEY=build-only-0123456789abcdefghijklmnopqrstuvwxyz-ABCDEFGH \
    JWT_KEYS=build:0123456789abcdefghijklmnopqrstuvwxyzABCDEFGH \
    AUDIT_KEYS=build:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= OBJECT_STORE_URL=file:///tmp BACKUP_STORE_URL=file:///tmp \
    BACKUP_KEYS=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= MAIL_URL=smtps://build \
    DATABASE_URL=postgresql://build@localhost/build REDIS_URL=redis://localhost/0 \
    /venv/bin/python manage.py collectstatic --noinput

FROM python:3.12-slim
# pg_dump and pg_restore for backups. Debian's own package can be older than the server, so that the script of
# postgresql-common adds the repository of the PostgreSQL project.
RUN apt-get update \
    && apt-get install -y --no-install-recommends postgresql-common ca-certificates \
    && /usr/share/postgresql-common/pgdg/apt.postgresql.org.sh -y \
    && apt-get install -y --no-install-recommends postgresql-client-18 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin getyousite \
    && install -d -o getyousite -g getyousite /var/lib/getyousite
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
USER getyousite
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    ENVIRONMENT=production HOST=0.0.0.0 PORT=8000 INTERNAL_HOST=0.0.0.0 INTERNAL_PORT=8001 VAR_DIR=/var/lib/getyousite
VOLUME /var/lib/getyousite
EXPOSE 8000 8001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"INTERNAL_PORT\"]}/health/ready', timeout=3)"]
ENTRYPOINT ["python", "manage.py"]
CMD ["serve"]
