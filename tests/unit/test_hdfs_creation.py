"""The client's own attributes of new files: every row is what Hadoop 3.4.2 makes of the value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.creation import (
    DEFAULT_BLOCK_BYTES,
    MAX_BLOCKS,
    CreationRules,
)
from backhaul.adapters.hadoop.hdfs.creation import creation_rules as rules_of
from backhaul.core.errors import ConfigurationError

MIB = 1 << 20


def creation_rules(values: Mapping[str, str]) -> CreationRules:
    return rules_of(HadoopConfiguration(directory=Path("/etc/hadoop"), values=values))


@pytest.mark.parametrize(
    ("text", "umask"),
    [
        ("022", 0o022),
        ("0022", 0o022),
        ("00027", 0o027),
        ("0777", 0o777),
        ("u=rwx,g=rx,o=", 0o027),
        ("g-w", 0o777),
        ("a+r", 0o333),
        ("a=rwx,o-w", 0o007),
        ("ua=r", 0o377),
        ("u=rwx, g=rwx, o=rx", 0o002),
        ("u=rwx,g+w", 0o057),
        ("o=", 0o777),
        ("u=rw,u+x", 0o677),
        ("=rx", 0o222),
        ("u==r", 0o377),
        ("u=rwx,,g=r", 0o037),
        ("ug=rwx,o=rx", 0o002),
        ("u=rwx,g=rx,o=rx,", 0o022),
    ],
)
def test_a_umask_means_what_it_means_to_hadoop(text: str, umask: int) -> None:
    assert creation_rules({"fs.permissions.umask-mode": text}).umask == umask


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            ("fs.permissions.umask-mode", text)
            for text in ("27", "+027", "7", "1022", "08", "rwx", "u=rwX", "u=rwx g=rx o=")
        ),
        ("fs.permissions.umask-mode", "u=rwx,g=rwx,o"),
        *(("dfs.blocksize", text) for text in ("1.5m", "128mb", "0x100000", "-1", "0")),
        ("dfs.blocksize", "1000000"),  # no multiple of 512
        *(("dfs.replication", text) for text in ("1k", "0", "-1", "40000", "1.5")),
    ],
)
def test_what_hadoop_refuses_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        creation_rules({name: value})
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert caught.value.hint


def test_hadoops_defaults_are_the_clients_own() -> None:
    assert creation_rules({}) == CreationRules(
        umask=0o022, replication=3, block_bytes=128 * MIB, acl_overrides_umask=True
    )


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("2097152", 2 * MIB), ("64M", 64 * MIB), ("1g", 1024 * MIB), ("1m", MIB), ("1K", 1024)],
)
def test_a_block_size_may_have_a_suffix(text: str, size_bytes: int) -> None:
    assert creation_rules({"dfs.blocksize": text}).block_bytes == size_bytes


def test_without_a_configuration_the_namenode_s_defaults_hold() -> None:
    assert rules_of(HadoopConfiguration()) == CreationRules(replication=None, block_bytes=None)


def test_a_default_acl_counts_instead_of_the_umask_unless_the_namenode_is_set_otherwise() -> None:
    rules = creation_rules({"fs.permissions.umask-mode": "027"})
    assert rules.file_mode(has_default_acl=False) == 0o640
    assert rules.directory_mode(has_default_acl=False) == 0o750
    assert rules.file_mode(has_default_acl=True) == 0o666
    assert rules.directory_mode(has_default_acl=True) == 0o777

    old = {"dfs.namenode.posix.acl.inheritance.enabled": "FALSE"}
    assert creation_rules(old).file_mode(has_default_acl=True) == 0o644


@pytest.mark.parametrize("block_bytes", [None, MIB, 256 * MIB])
def test_a_file_of_50_tb_has_blocks_that_fit_the_namenodes_limit(block_bytes: int | None) -> None:
    size_bytes = 50 * 10**12
    block = CreationRules(block_bytes=block_bytes).block_size(size_bytes)
    assert block is not None
    assert block % (block_bytes or DEFAULT_BLOCK_BYTES) == 0
    assert -(-size_bytes // block) <= MAX_BLOCKS


def test_any_other_file_has_the_configured_block_size() -> None:
    for size_bytes in (0, 1, MIB, MAX_BLOCKS * 2 * MIB):
        assert CreationRules(block_bytes=2 * MIB).block_size(size_bytes) == 2 * MIB
        assert CreationRules().block_size(size_bytes) is None
