"""Which files of tests run one after the other in the same process of xdist.

Each process starts servers of its own, once and only when a test asks for them. Those that cost
much to start are asked for by few files, so the files that share one run where it was started.
"""

from __future__ import annotations

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
    ),
}
_GROUP_OF = {path: group for group, paths in GROUPS.items() for path in paths}


class TogetherScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """`--dist loadfile`, with the files of a group as one."""

    def _split_scope(self, nodeid: str) -> str:
        path = str(super()._split_scope(nodeid))
        return _GROUP_OF.get(path, path)
