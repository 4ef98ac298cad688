"""Shape `gets`: what a small GET costs its client, in CPU; no disk and no HDFS in it."""

from __future__ import annotations

from benchmarks.measure import serving
from benchmarks.report import Figure, paired
from benchmarks.servers import Servers, Sizes, tell


def gets(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """One thread, one kept-alive connection, objects of 16 KiB, on loopback."""
    found: dict[str, list[float]] = {}
    with serving("benchmarks.small_server") as port:
        for turn in range(rounds):
            arguments = ["benchmarks.get_once", str(port), str(sizes.objects)]
            for name, value in servers.answer(arguments, servers.bare_environment()).items():
                found.setdefault(name, []).append(float(value))
            told = ", ".join(f"{name} {values[-1]:.2f} ms" for name, values in found.items())
            tell(f"gets round {turn + 1}: {told}")
    return [
        *(
            Figure(shape="gets", what=f"CPU of one GET, {name}", unit="ms", values=tuple(values))
            for name, values in found.items()
        ),
        *(
            Figure(
                shape="gets",
                what=f"{name}, in multiples of ours",
                unit="x",
                values=paired(values, found["ours"]),
            )
            for name, values in found.items()
            if name != "ours"
        ),
    ]
