"""A web server on this machine that misbehaves as told, and remembers what it was asked."""

import contextlib
import http.server
import threading
import time
from collections.abc import Callable
from typing import NamedTuple


class Request(NamedTuple):
    """What somebody asked for."""

    path: str
    range: str | None
    if_range: str | None
    encoding: str | None


class Server:
    """``pages[path]`` is called with the handler and the number of requests for it before."""

    def __init__(self) -> None:
        self.pages: dict[str, Callable[[http.server.BaseHTTPRequestHandler, int], None]] = {}
        self.requests: list[Request] = []
        self.url = ""

    def asked(self, path: str) -> list[Request]:
        return [request for request in self.requests if request.path == path]


@contextlib.contextmanager
def serving(context=None):
    """A :class:`Server` at ``server.url``; with an SSL context it speaks https."""
    server = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen = len(server.asked(self.path))
            get = self.headers.get
            server.requests.append(
                Request(self.path, get("Range"), get("If-Range"), get("Accept-Encoding"))
            )
            self.close_connection = True
            page = server.pages.get(self.path, status(404))
            with contextlib.suppress(ConnectionError):  # the client may hang up
                page(self, seen)

        def log_message(self, *_) -> None:
            pass

    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_) -> None:  # a TLS handshake that the client refused
            pass

    with Quiet(("127.0.0.1", 0), Handler) as httpd:
        if context is not None:
            httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        scheme = "http" if context is None else "https"
        server.url = f"{scheme}://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            httpd.shutdown()
            thread.join()


def answer(handler, body, *, code=200, length=None, **headers):
    """A whole answer; ``length`` is what Content-Length claims, ``False`` for none at all."""
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if length is not False:
        handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def good(body, etag='"1"'):
    """A server that takes ranges and does everything right."""

    def page(handler, _):
        start = _start(handler, etag)
        if start is None:
            answer(handler, body, ETag=etag)
        else:
            where = f"bytes {start}-{len(body) - 1}/{len(body)}"
            answer(handler, body[start:], code=206, ETag=etag, Content_Range=where)

    return page


def dropping(body, after, etag='"1"', times=None, validator="ETag"):
    """Hangs up after so many bytes of each answer, ``times`` times if that is given."""

    def page(handler, seen):
        start = _start(handler, etag)
        rest = body[start or 0 :]
        cut = len(rest) if times is not None and seen >= times else after
        headers = {validator.replace("-", "_"): etag}
        if start is not None:
            headers["Content_Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        answer(handler, rest[:cut], code=200 if start is None else 206, length=len(rest), **headers)

    return page


def _start(handler, validator):
    """First byte of the range that is asked for, if it is of this version."""
    wanted = handler.headers.get("Range")
    if wanted is None or handler.headers.get("If-Range", validator) != validator:
        return None
    return int(wanted.removeprefix("bytes=").removesuffix("-"))


def deaf(body, after):
    """Drops the first answer, and never heard of ranges."""

    def page(handler, seen):
        answer(handler, body if seen else body[:after], length=len(body), ETag='"1"')

    return page


def status(code, then=None, times=1):
    """An HTTP error, ``times`` times; then the page ``then``, if there is one."""

    def page(handler, seen):
        if then is not None and seen >= times:
            then(handler, seen - times)
        else:
            answer(handler, b"no", code=code)

    return page


def moved(where):
    """A redirect."""
    return lambda handler, _: answer(handler, b"", code=302, Location=where)


def endless(block=b"x" * 65536, most=2**28):
    """No length and no end."""

    def page(handler, _):
        handler.send_response(200)
        handler.end_headers()
        for _ in range(most // len(block)):
            handler.wfile.write(block)

    return page


def trickling(body, pause):
    """A byte now and then: never silent, never done."""

    def page(handler, _):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        for byte in body:
            handler.wfile.write(bytes([byte]))
            time.sleep(pause)

    return page


def silent(seconds):
    """Takes the request and says nothing."""
    return lambda handler, _: time.sleep(seconds)
