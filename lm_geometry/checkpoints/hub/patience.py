"""How long to go on with a server that fails, and how long to wait before the next attempt."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Answers that a later attempt may turn into the right one.
TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True)
class Patience:
    """Limits of one request that is tried again when it fails.

    Parameters
    ----------
    attempts : int
        Failures in a row after which it is given up; one that brought ``worthwhile`` bytes starts the count anew.
    first_wait, longest_wait : float
        Seconds before the second attempt, doubled for each further one up to the longest; jitter takes off up to half.
    longest_retry_after : float
        Most seconds that a server's Retry-After may ask for.
    silence : float
        Seconds without a byte, or without a connection, after which an attempt counts as broken.
    slowest : float
        Bytes per second; an attempt that brings fewer over ``silence`` seconds counts as broken too.
    worthwhile : int
        Bytes.
    """

    attempts: int = 6
    first_wait: float = 1.0
    longest_wait: float = 30.0
    longest_retry_after: float = 300.0
    silence: float = 20.0
    slowest: float = 2048.0
    worthwhile: int = 1 << 20

    def wait(self, failures: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after that many failures in a row (1, 2, ...)."""
        if retry_after is not None:
            return min(max(retry_after, 0.0), self.longest_retry_after)
        return min(self.first_wait * 2 ** (failures - 1), self.longest_wait) * random.uniform(0.5, 1.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait: Retry-After as number or date, or the hub's own rate limit."""
    from huggingface_hub.utils import parse_ratelimit_headers

    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        limit = parse_ratelimit_headers(headers)
        return float(limit.reset_in_seconds) if limit and limit.remaining == 0 else None
