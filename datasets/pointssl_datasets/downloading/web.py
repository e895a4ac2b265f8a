"""One HTTP request, and what may be hoped for after it failed."""

import errno
import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from pointssl_datasets.base.errors import UserError

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Refused(Exception):
    """This mirror will not do; the next may."""


class Broken(Exception):
    """Worth another attempt."""


def ask(
    url: str,
    headers: dict[str, str],
    use: Callable[[Any], None],
    *,
    timeout: float,
    trusted: bool = True,
) -> None:
    """GETs ``url`` and calls ``use`` with the answer (an ``http.client.HTTPResponse``).

    Args:
        timeout: seconds without a byte.
        trusted: whether the server's certificate must be valid.

    Raises:
        Broken, Refused: whatever the network or the server does.
        HTTPError: 416 alone, that the range asked for does not exist.
        SSLCertVerificationError: the certificate is not valid.
        UserError: the disk is full, or a file can't be written.
    """
    try:
        with _open(url, {"User-Agent": "pointssl", **headers}, timeout, trusted) as answer:
            use(answer)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise
        with error:
            raise _status(error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        raise Broken(f"cannot be reached ({_line(error.reason)})") from None
    except TimeoutError:
        raise Broken(f"is silent for {timeout:g} s") from None
    except (ValueError, http.client.InvalidURL) as error:
        raise Refused(f"is no address ({_line(error)})") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK):
            where = f"{error.filename}: " if error.filename else ""
            raise UserError(
                f"{where}{error.strerror} during the download. What has arrived is kept: make room "
                "and run the same command again."
            ) from None
        raise Broken(f"broke off ({_line(error) or type(error).__name__})") from None


def host(url: str) -> str:
    """``example.org`` of an address, for messages."""
    return urllib.parse.urlsplit(url).hostname or url


class _Redirects(urllib.request.HTTPRedirectHandler):
    """To http and https alone, and never from https back to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and scheme != urllib.parse.urlsplit(req.full_url).scheme:
            raise Refused(f"leads to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str], timeout: float, trusted: bool) -> Any:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise Refused("only http:// and https:// are fetched; a file is given with --from")
    context = ssl.create_default_context()
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    opener = urllib.request.OpenerDirector()  # without handlers for file:, ftp: and data:
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener.open(urllib.request.Request(url, headers=headers), timeout=timeout)


def _status(error: urllib.error.HTTPError) -> Exception:
    """What an HTTP status means: another attempt for those that pass."""
    said = _line(f"{error.code} {error.reason}")
    if 300 <= error.code < 400:
        circle = "infinite loop" in said
        return Refused("redirects in a circle" if circle else f"redirects wrongly: {said}")
    if error.code in (408, 425, 429) or error.code >= 500:
        return Broken(f"answers {said}")
    return Refused(f"answers {said}")


def _line(error: object) -> str:
    return " ".join(str(error).split())[:200]
