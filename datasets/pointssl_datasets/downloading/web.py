"""One HTTP request, and whether a failed one is worth repeating."""

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


class MirrorError(Exception):
    """This mirror does not have the file; another one may."""


class TransientError(Exception):
    """The request failed, but may succeed if it is repeated."""


def request(
    url: str,
    headers: dict[str, str],
    handle: Callable[[Any], None],
    *,
    timeout: float,
    verify: bool = True,
) -> None:
    """Sends a GET request and calls ``handle`` with the ``http.client.HTTPResponse``.

    Args:
        timeout: seconds without a byte.
        verify: whether the server's certificate must be valid.

    Raises:
        TransientError, MirrorError: the network or the server failed.
        HTTPError: status 416 only: the requested range does not exist.
        SSLCertVerificationError: the certificate is not valid.
        UserError: the disk is full, or a file can't be written.
    """
    try:
        with _open(url, {"User-Agent": "pointssl", **headers}, timeout, verify) as response:
            handle(response)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            raise
        with error:
            raise _status_error(error) from None
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise error.reason from None
        raise TransientError(f"cannot be reached ({_one_line(error.reason)})") from None
    except TimeoutError:
        raise TransientError(f"does not respond for {timeout:g} s") from None
    except (ValueError, http.client.InvalidURL) as error:
        raise MirrorError(f"is not a valid address ({_one_line(error)})") from None
    except (OSError, http.client.HTTPException) as error:
        if isinstance(error, OSError) and (error.filename or error.errno in _DISK):
            where = f"{error.filename}: " if error.filename else ""
            raise UserError(
                f"{where}{error.strerror} during the download. The part that has arrived is kept: "
                "free some space and run the same command again."
            ) from None
        detail = _one_line(error) or type(error).__name__
        raise TransientError(f"closed the connection ({detail})") from None


def host(url: str) -> str:
    """The host of an address, e.g. ``example.org``, for messages."""
    return urllib.parse.urlsplit(url).hostname or url


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https only, and never from https to http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and scheme != urllib.parse.urlsplit(req.full_url).scheme:
            raise MirrorError(f"redirects to {newurl}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _open(url: str, headers: dict[str, str], timeout: float, verify: bool) -> Any:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise MirrorError("only http:// and https:// are supported; pass a file with --from")
    context = ssl.create_default_context()
    if not verify:
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


def _status_error(error: urllib.error.HTTPError) -> Exception:
    """The exception for an HTTP status; some statuses are transient."""
    status = _one_line(f"{error.code} {error.reason}")
    if 300 <= error.code < 400:
        loop = "infinite loop" in status
        return MirrorError("redirects in a circle" if loop else f"redirects wrongly: {status}")
    if error.code in (408, 425, 429) or error.code >= 500:
        return TransientError(f"answers {status}")
    return MirrorError(f"answers {status}")


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:200]
