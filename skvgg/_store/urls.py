"""Which places are URLs, and which of them a store can be at."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

#: Those of Redis: plain, in TLS, and a socket of this machine.
_SCHEMES = ("redis", "rediss", "unix")
#: Where the password is taken from, as ``redis-cli`` does.
PASSWORD_VARIABLE = "REDISCLI_AUTH"


def is_url(place: Any) -> bool:
    """Return whether a place is a URL rather than the path of a folder."""
    # A drive of Windows is one letter.
    return isinstance(place, str) and bool(re.match(r"[A-Za-z][\w+.-]+://", place))


def without_joblib(url: str) -> str:
    """Return a URL without the folder that joblib appends to every place."""
    return url.removesuffix(os.sep + "joblib").removesuffix("/joblib")


def with_lower_scheme(url: str) -> str:
    """Return a URL as redis-py takes it, which wants schemes in lower case."""
    scheme, separator, rest = url.partition("://")
    return scheme.lower() + separator + rest


def check_url(url: str) -> None:
    """Raise unless a URL is one of a Redis server and holds no password.

    The messages do not show the URL, since what is wrong with it may be that a
    password was not recognized as one.

    Raises
    ------
    ValueError
        If it is not.
    """
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            f"memory is a URL of the scheme {parts.scheme!r}. Expected a folder, "
            "redis://host:6379/0, rediss:// (with TLS) or unix:// (a socket); for "
            "other places, pass a joblib.Memory with a backend of yours."
        )
    if parts.password is not None or "password" in parse_qs(parts.query):
        raise ValueError(
            "memory is a URL with a password, which everyone would see who prints the "
            "estimator or gets its pickle. Leave it out and set the environment "
            f"variable {PASSWORD_VARIABLE}. A user's name may stay: "
            "redis://user@host:6379/0"
        )
    if not _is_whole(url):
        raise ValueError(
            "memory is not the URL of a Redis server. Expected "
            "redis://host:6379/0: host, port and the number of a database; "
            "for a socket unix:///path?db=0."
        )


def _is_whole(url: str) -> bool:
    parts = urlsplit(url)
    try:
        parts.port  # noqa: B018
    except ValueError:
        return False
    # What comes after "#", or holds "@", is the rest of a password.
    if parts.fragment or "@" in parts.path + parts.query or "://" not in url:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    return bool(parts.hostname and re.fullmatch(r"/?\d*/?", parts.path))
