"""Shape `planning`: listing, planning and freezing up to a million objects in bounded memory."""

from __future__ import annotations

from benchmarks.measure import serving
from benchmarks.report import Figure, paired
from benchmarks.servers import Servers, Sizes, tell

AT_MOST_MB = 250
AT_MOST_GROWTH = 1.2


def planning(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """The same code for 1,000 to 1,000,000 objects: time for each object, and peak memory."""
    per_object: dict[int, list[float]] = {count: [] for count in sizes.planned}
    cpu: dict[int, list[float]] = {count: [] for count in sizes.planned}
    memory: dict[int, list[float]] = {count: [] for count in sizes.planned}
    with serving("benchmarks.listing_server") as port:
        environment = {
            **servers.bare_environment(),
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "listing",
            "AWS_SECRET_ACCESS_KEY": "listing",
        }
        for turn in range(rounds):
            for count in sizes.planned:
                ledger = servers.directory / f"plan-{turn}-{count}.db"
                found = servers.answer(
                    ["benchmarks.plan_once", str(count), str(ledger)], environment
                )
                ledger.unlink()
                per_object[count].append(1e6 * float(found["seconds"]) / count)
                cpu[count].append(1e6 * float(found["cpu_s"]) / count)
                memory[count].append(float(found["peak_mb"]))
                tell(
                    f"planning round {turn + 1}: {count:,} objects, "
                    f"{per_object[count][-1]:.0f} us each, {cpu[count][-1]:.0f} us of CPU, "
                    f"{memory[count][-1]:.0f} MB"
                )
    figures = []
    for count in sizes.planned:
        times, peaks = tuple(per_object[count]), tuple(memory[count])
        name = f"{count:,} objects"
        figures.append(Figure(shape="planning", what=f"{name}, each", unit="us", values=times))
        what = f"{name}, each, CPU"
        figures.append(Figure(shape="planning", what=what, unit="us", values=tuple(cpu[count])))
        figures.append(
            Figure(
                shape="planning",
                what=f"{name}, peak RSS",
                unit="MB",
                values=peaks,
                at_most=AT_MOST_MB,
            )
        )
    most, base = max(sizes.planned), sizes.planned[1]
    figures.append(
        Figure(
            shape="planning",
            what=f"an object of {most:,} to one of {base:,}",
            unit="x",
            values=paired(per_object[most], per_object[base]),
            at_most=AT_MOST_GROWTH,
        )
    )
    figures.append(
        Figure(
            shape="planning",
            what=f"CPU of an object of {most:,} to one of {base:,}",
            unit="x",
            values=paired(cpu[most], cpu[base]),
            at_most=AT_MOST_GROWTH,
        )
    )
    return figures
