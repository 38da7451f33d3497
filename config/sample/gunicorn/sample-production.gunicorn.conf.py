"""How gunicorn serves the API in production.

    cp config/sample/gunicorn/sample-production.gunicorn.conf.py config/gunicorn.conf.py

What is imported must stay: it checks the set-up, keeps the logs in one form and the counters right. What is set
below is yours; https://docs.gunicorn.org/en/stable/settings.html tells what else there is. Settings of streamrec
itself are in config/streamrec.toml and in STREAMREC_* variables.
"""

from streamrec.serving import (  # noqa: F401
    bind,  # STREAMREC_HOST and STREAMREC_PORT
    child_exit,
    control_socket_disable,
    forwarded_allow_ips,  # STREAMREC_TRUSTED_PROXIES
    logger_class,
    on_starting,
    post_fork,
    post_worker_init,
    proc_name,
    when_ready,
    worker_class,
    workers,  # STREAMREC_API_WORKERS; one for each core, two at least
    wsgi_app,
)

# Seconds that a worker's event loop may stand still before the worker is replaced.
timeout = 30

# Seconds that requests under way get when the API stops; downloads of recordings take longest.
graceful_timeout = 20

# Seconds that an idle connection stays open; more than the proxy in front of it waits, or it sees resets.
keepalive = 75

# A worker is replaced after about so many requests, which bounds what a leak anywhere could cost.
max_requests = 100_000
max_requests_jitter = 10_000

# TLS usually ends at the proxy in front. Without one:
# certfile = "/etc/ssl/certs/streamrec.pem"
# keyfile = "/etc/ssl/private/streamrec.key"
