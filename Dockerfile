# Two images from one file:
#   --target web       gunicorn, the CPU worker and beat; no PyTorch
#   --target trainer   the same with PyTorch and the MiniLM weights, for the queue `training`
# PyTorch's default Linux wheel brings CUDA, which a trainer on a GPU wants. For a trainer without a GPU, pass
# --build-arg PIP_EXTRA_INDEX_URL=<PyTorch's index of CPU wheels>.
ARG PYTHON_VERSION=3.12

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY recommender recommender
RUN pip install -c constraints.txt ".[serving,postgres,metrics,demo]"

FROM build AS build-trainer
ARG PIP_EXTRA_INDEX_URL=""
RUN pip install -c constraints.txt ".[ml,tuning,tensorboard]"

FROM python:${PYTHON_VERSION}-slim AS base
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 \
    DJANGO_SETTINGS_MODULE=shopreco.settings SHOPRECO_VAR=/var/lib/shopreco
RUN useradd --system --uid 10001 --home-dir /var/lib/shopreco --create-home shopreco
WORKDIR /app
COPY manage.py ./
COPY shopreco shopreco
COPY templates templates
VOLUME /var/lib/shopreco

FROM base AS trainer
COPY --from=build-trainer /opt/venv /opt/venv
USER shopreco
CMD ["celery", "-A", "shopreco", "worker", "--queues", "shopreco-training", "--pool", "solo", "--loglevel", "INFO"]

FROM base AS web
COPY --from=build /opt/venv /opt/venv
USER shopreco
EXPOSE 8000
CMD ["gunicorn", "shopreco.wsgi:application", "--bind", "0.0.0.0:8000", "--workers", "2", "--threads", "4", \
     "--max-requests", "5000", "--max-requests-jitter", "500", "--worker-tmp-dir", "/dev/shm"]
