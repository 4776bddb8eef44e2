"""`python -m tests.bench.route PORT`: an empty Starlette route, the limit of any intake."""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def empty(_: Request) -> Response:
    return Response(status_code=204)


if __name__ == "__main__":
    app = Starlette(routes=[Route("/callbacks/{provider}/{ref}", empty, methods=["POST"])])
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
    )
