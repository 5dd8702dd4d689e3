"""Recognize the folders and URLs of stores, and check URLs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: The schemes of Redis: plain, with TLS, and a local socket.
_SCHEMES = ("redis", "rediss", "unix")
#: The folder that joblib appends.
_JOBLIB = "joblib"
#: Environment variable with the password, the same as for ``redis-cli``.
PASSWORD_VARIABLE = "REDISCLI_AUTH"


def is_url(place: Any) -> bool:
    """Return whether `place` is a URL rather than the path of a folder."""
    # Windows drives have one letter.
    return isinstance(place, str) and bool(re.match(r"[A-Za-z][\w+.-]+://", place))


def without_joblib(url: str) -> str:
    """Return a URL without the folder that joblib appends to every location."""
    return url.removesuffix(os.sep + _JOBLIB).removesuffix(f"/{_JOBLIB}")


def one_folder(location: str | os.PathLike[str]) -> str:
    """Return the folder of a location, however it is written.

    joblib appends "joblib" to a location that is a str, but not to a path.
    """
    # Before and after links are followed: the subfolder itself may be one.
    folder = _parent_of_joblib(Path(os.path.expanduser(location)).absolute())
    folder = _parent_of_joblib(Path(os.path.realpath(folder)))
    return str(folder / _JOBLIB)


def _parent_of_joblib(folder: Path) -> Path:
    while folder.name == _JOBLIB:
        folder = folder.parent
    return folder


def with_lower_scheme(url: str) -> str:
    """Return a URL with its scheme in lower case, as redis-py requires."""
    scheme, separator, rest = url.partition("://")
    return scheme.lower() + separator + rest


def check_url(url: str) -> None:
    """Check that a URL is one of a Redis server and contains no password.

    The messages do not show the URL, because it may contain a password that was not
    recognized.

    Raises
    ------
    ValueError
        If the URL is invalid or contains a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            f"memory is a URL with the scheme {parts.scheme!r}. Expected a folder, "
            "redis://host:6379/0, rediss:// (with TLS) or unix:// (a socket). For "
            "other stores, pass a joblib.Memory with your own backend."
        )
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError(
            "memory is a URL with a password, which would be visible when the "
            "estimator is printed or pickled. Remove it and set the environment "
            f"variable {PASSWORD_VARIABLE}. The URL may contain a user name: "
            "redis://user@host:6379/0"
        )
    if not _is_whole(url):
        raise ValueError(
            "memory is not the URL of a Redis server. Expected "
            "redis://host:6379/0 (host, port and database number), or "
            "unix:///path?db=0 for a socket."
        )


def _is_whole(url: str) -> bool:
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018
    except ValueError:
        return False
    # Text after "#" or with "@" is the rest of a password.
    if parts.fragment or "@" in parts.path + parts.query or "://" not in url:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return bool(parts.hostname and re.fullmatch(r"/?\d*/?", parts.path))
