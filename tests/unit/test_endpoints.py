"""Endpoints and regions that cannot be are refused at the start, by the setting that holds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.credentials import AwsCredentials
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.core.endpoints import endpoint_fault, is_region
from backhaul.core.errors import BadArgument, ConfigurationError, OutageError
from backhaul.core.ports import Endpoint
from backhaul.core.requests.queue_names import parse_queue

MALFORMED = [
    *("http://[x", "https://[x", "https://h h", "https://h:99999", "https://h:x", "https://h:0"),
    *(
        "https://h?x",
        "https://h/?",
        "https://h#x",
        "https://h:",
        "https://[::1]x",
        "https://[v1.a]",
    ),
    *(
        "https://",
        "ftp://h",
        "https://user:SECRET@h",
        "https://h\\x",
        "https://-h",
        "https://h/\u00e9",
    ),
    *("https://h\t", " https://h", "https://[127.0.0.1]", f"https://{'a' * 300}"),
]


@pytest.mark.parametrize(
    "text",
    [
        *("https://h", "https://h/", "http://127.0.0.1:9000", "https://[::1]:9000/path"),
        *("https://sqs.eu-west-1.amazonaws.com", "https://mini_o.example.com.:443"),
    ],
)
def test_an_endpoint_that_can_be_has_no_fault(text: str) -> None:
    assert endpoint_fault(text) == ""


@pytest.mark.parametrize("text", MALFORMED)
@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL", "endpoint_url"])
def test_an_endpoint_of_aws_s_settings_that_cannot_be_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    for name in ("AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    if variable.isupper():
        monkeypatch.setenv(variable, text)
    elif text.strip() != text:
        return  # an INI file trims
    else:
        (tmp_path / "config").write_text(f"[default]\nendpoint_url = {text}\n")
    with pytest.raises(ConfigurationError) as caught:
        AwsSession("us-east-1").client("sqs", Config())
    assert caught.value.code == "E_AWS_CONFIG"
    assert variable in caught.value.message
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize("text", MALFORMED)
def test_an_endpoint_of_s3a_that_cannot_be_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        S3aConfiguration(HadoopConfiguration(values={"fs.s3a.endpoint": text})).of("b")
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "fs.s3a.endpoint" in caught.value.message
    assert "SECRET" not in caught.value.message


@pytest.mark.parametrize(
    "text", ["eu west", "-eu", "eu-", "e" * 64, "eu/west", "eu.west", "\u0435u"]
)
def test_a_region_that_cannot_be_is_refused_by_name(text: str) -> None:
    assert not is_region(text)
    with pytest.raises(ConfigurationError) as caught:
        S3aConfiguration(HadoopConfiguration(values={"fs.s3a.endpoint.region": text})).of("b")
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "fs.s3a.endpoint.region is no region" in caught.value.message
    with pytest.raises(ConfigurationError) as caught:
        AwsSession(text).client("sqs", Config())
    assert caught.value.code == "E_AWS_CONFIG"


@pytest.mark.parametrize("text", ["eu-west-1", "us-gov-west-1", "RegionOne", "garage", "auto", "r"])
def test_stand_ins_name_their_regions_as_they_like(text: str) -> None:
    assert is_region(text)


@pytest.mark.parametrize("text", ["https://[x/1/q", "https://h h/1/q", "https://h:x/1/q"])
def test_a_queue_s_url_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(BadArgument):
        parse_queue(text)


@pytest.mark.parametrize("text", ["http://[x", "http://SECRET:x@h:y"])
def test_a_malformed_proxy_holds_and_is_named(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    for name in ("NO_PROXY", "no_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", text)
    reader = ObjectReader(AwsCredentials(), 1)
    endpoint = Endpoint(base_url="https://src.s3.us-east-1.amazonaws.com/", region="us-east-1")
    with pytest.raises(OutageError, match="HTTPS_PROXY is no URL of a proxy") as caught:
        reader.check_reachable(endpoint)
    assert caught.value.code == "E_S3_UNREACHABLE"
    assert "SECRET" not in caught.value.message
