"""A place that a person names by viewfs is looked up under the name behind it."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.app.viewfs_names import behind_viewfs
from backhaul.core.errors import BackhaulError

CORE = """<configuration>
<property><name>fs.defaultFS</name><value>{default}</value></property>
<property><name>fs.viewfs.mounttable.bed.link./data</name><value>hdfs://nn/d</value></property>
<property><name>fs.viewfs.mounttable.default.link./all</name><value>hdfs://nn/</value></property>
</configuration>"""


def configure(directory: Path, monkeypatch: pytest.MonkeyPatch, default: str) -> None:
    (directory / "core-site.xml").write_text(CORE.format(default=default))
    monkeypatch.setenv("HADOOP_CONF_DIR", str(directory))


@pytest.mark.parametrize(
    ("default", "text", "found"),
    [
        ("viewfs://bed", "/data/x/_SUCCESS", "hdfs://nn:8020/d/x/_SUCCESS"),
        ("viewfs://bed/", "//data//x/", "hdfs://nn:8020/d/x"),
        ("viewfs://bed", "viewfs://bed/data/.hidden:x", "hdfs://nn:8020/d/.hidden:x"),
        ("viewfs:///", "/all/x", "hdfs://nn:8020/x"),
        ("viewfs:///", "viewfs:///all", "hdfs://nn:8020/"),
        ("viewfs://bed", "/elsewhere", "/elsewhere"),
        ("viewfs://bed", "/", "/"),
        ("viewfs://none", "/data/x", "/data/x"),
        ("hdfs://nn", "/data/x", "/data/x"),
        ("hdfs://nn", "viewfs://bed/data/x", "hdfs://nn:8020/d/x"),
        ("viewfs://bed", "s3://bucket/data", "s3://bucket/data"),
        ("viewfs://bed", "hdfs://nn/data", "hdfs://nn/data"),
        ("hdfs://${broken}", "/data/x", "/data/x"),
    ],
)
def test_what_the_ledger_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: str, text: str, found: str
) -> None:
    configure(tmp_path, monkeypatch, default)
    assert behind_viewfs(text) == found


@pytest.mark.parametrize(
    ("default", "text", "code"),
    [
        ("viewfs://bed", "viewfs://bed/elsewhere/x", "E_DST_NO_MOUNT"),
        ("viewfs://bed", "viewfs://other/x", "E_WHERE"),
        ("viewfs://bed", "viewfs://bed", "E_WHERE"),
        ("hdfs://${broken}", "viewfs://bed/data/x", "E_CFG_HADOOP_VARIABLE"),
    ],
)
def test_what_names_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: str, text: str, code: str
) -> None:
    configure(tmp_path, monkeypatch, default)
    with pytest.raises(BackhaulError, match=code):
        behind_viewfs(text)
