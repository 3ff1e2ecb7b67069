"""The web process: `python -m redpen.services.web [--fd N]`. With a number it serves the socket it was given."""

import argparse
import gc
import socket

import uvicorn

from redpen import env


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket that the parent has opened")
    fd = parser.parse_args().fd
    environment = env.read()
    config = uvicorn.Config(
        "redpen.asgi:application",
        host=environment.HOST,
        port=environment.PORT,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # without it a listener that never leaves would keep the server from stopping
        timeout_graceful_shutdown=5,
        proxy_headers=environment.HTTPS,
        forwarded_allow_ips="*" if environment.HTTPS else None,
    )
    load(config)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=fd)] if fd is not None else None)


def load(config: uvicorn.Config) -> None:
    """Load the whole application now, and keep the collector off it: walking all of Django took 50 ms of a request."""
    config.load()
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - imports every view
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    main()
