"""Child processes that are over when their test is, whatever happened in it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def child(argv: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """`subprocess.Popen`, killed at the end of the block if it still runs.

    Where an assertion fails, `Popen` alone would wait for it without end; and one that is not
    waited for is a ResourceWarning, which fails the test that happens to run at that moment.
    """
    with subprocess.Popen(argv, **options) as process:
        try:
            yield process
        finally:
            process.kill()
