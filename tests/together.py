"""Which files of tests run in which process of xdist, and in which order.

Each process starts servers of its own, once and only when a test asks for them. Those that cost
much to start are asked for by few files, so the files that share one run where it was started.
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# Fixtures of tests/conftest.py, each of several JVMs.
COSTLY = ("federation", "hive", "kdc", "kms", "secure_hdfs", "wide_hdfs")
GROUPS = {
    "hive": ("tests/acceptance/test_hive.py", "tests/contract/test_hive.py"),
    "hdfs": (
        "tests/acceptance/test_attributes.py",
        "tests/acceptance/test_doctor_targets.py",
        "tests/acceptance/test_federation.py",
        "tests/acceptance/test_kerberos.py",
        "tests/acceptance/test_layouts.py",
        "tests/acceptance/test_secrets.py",
        "tests/contract/test_kerberos.py",
        "tests/contract/test_layouts.py",
        "tests/contract/test_target.py",
        "tests/contract/test_upstream.py",
    ),
}
_GROUP_OF = {path: group for group, paths in GROUPS.items() for path in paths}


class TogetherScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """`--dist loadfile`, with the files of a group as one, from both ends of their order.

    The first tests, of the whole agent, wait for servers and clocks and leave most of a core to
    others; the last ones, of units, need one and no server. So the last process begins with these,
    and goes backwards until it meets the others.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = str(super()._split_scope(nodeid))
        return _GROUP_OF.get(path, path)

    def _assign_work_unit(self, node: Any) -> None:
        if len(self.nodes) > 1 and node is self.nodes[-1]:
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)
