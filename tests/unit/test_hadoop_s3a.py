"""S3A's settings of one bucket before those of all."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.config import Config

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.credentials import AwsCredentials
from backhaul.adapters.aws.errors import NoReadableKeys
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.configuration.s3a import S3aBucket, S3aConfiguration, S3aKeys
from backhaul.app.start import default_fs_warnings
from backhaul.core.errors import ConfigurationError, OutageError, PermanentError
from backhaul.core.file_systems import FileSystems
from backhaul.engines.tuning import Tuning
from backhaul.worker import WorkerConfiguration, _parts
from tests.unit.test_hadoop_configuration import prop, write

pytestmark = pytest.mark.slow  # each test makes clients of S3

BASE = {"fs.s3a.access.key": "AKIABASE", "fs.s3a.secret.key": "s"}
OWN = {"fs.s3a.bucket.b.access.key": "AKIAOWN", "fs.s3a.bucket.b.secret.key": "t"}


def settings(values: dict[str, str]) -> S3aConfiguration:
    return S3aConfiguration(HadoopConfiguration(values=values))


@pytest.mark.parametrize(
    ("more", "bucket", "expected"),
    [
        ({}, None, ("AKIABASE", "s", None)),
        ({}, "b", ("AKIABASE", "s", None)),
        (OWN, "b", ("AKIAOWN", "t", None)),
        (OWN, "other", ("AKIABASE", "s", None)),
        ({"fs.s3a.session.token": "x"}, "b", ("AKIABASE", "s", "x")),
        # The token of another pair opens nothing.
        ({**OWN, "fs.s3a.session.token": "x"}, "b", ("AKIAOWN", "t", None)),
        ({**OWN, "fs.s3a.bucket.b.session.token": "y"}, "b", ("AKIAOWN", "t", "y")),
        ({"fs.s3a.bucket.b.secret.key": "t"}, "b", ("AKIABASE", "t", None)),
        ({"fs.s3a.bucket.a.b.access.key": "AKIADOTS"}, "a.b", ("AKIADOTS", "s", None)),
        ({"fs.s3a.secret.key": ""}, None, None),
    ],
)
def test_a_bucket_s_own_keys_go_first(
    more: dict[str, str], bucket: str | None, expected: tuple[str, str, str | None] | None
) -> None:
    found = settings({**BASE, **more}).keys(bucket)
    assert found == (
        None
        if expected is None
        else S3aKeys(access_key=expected[0], secret_key=expected[1], token=expected[2])
    )
    assert "AKIA" not in repr(found)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, S3aBucket()),
        (OWN, S3aBucket(keys_of="b")),
        ({"fs.s3a.endpoint": "s3.amazonaws.com"}, S3aBucket()),
        ({"fs.s3a.endpoint": "s3.eu-west-1.amazonaws.com"}, S3aBucket(region="eu-west-1")),
        (
            {"fs.s3a.endpoint": "https://s3.cn-north-1.amazonaws.com.cn/"},
            S3aBucket(region="cn-north-1"),
        ),
        ({"fs.s3a.endpoint": "minio:9000"}, S3aBucket(url="https://minio:9000")),
        (
            {"fs.s3a.endpoint": "minio:9000", "fs.s3a.connection.ssl.enabled": "false"},
            S3aBucket(url="http://minio:9000"),
        ),
        (
            {
                "fs.s3a.endpoint": "https://all/",
                "fs.s3a.bucket.b.endpoint": "https://own/",
                "fs.s3a.endpoint.region": "eu-west-1",
                "fs.s3a.bucket.b.path.style.access": "TRUE",
            },
            S3aBucket(url="https://own", region="eu-west-1", is_path_style=True),
        ),
    ],
)
def test_where_a_bucket_is(values: dict[str, str], expected: S3aBucket) -> None:
    assert settings(values).of("b") == expected
    assert settings(values).of("other").keys_of is None


@pytest.mark.parametrize(
    ("host", "region", "is_public"),
    [
        ("s3.amazonaws.com", None, True),
        ("s3.eu-west-1.amazonaws.com", "eu-west-1", True),
        ("s3-ap-southeast-2.amazonaws.com", "ap-southeast-2", True),
        ("s3-us-gov-west-1.amazonaws.com", "us-gov-west-1", True),
        ("s3.us-isob-east-1.amazonaws.com.", "us-isob-east-1", True),
        ("s3.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", True),
        ("s3-external-1.amazonaws.com", "us-east-1", True),
        ("s3-accelerate.amazonaws.com", None, True),
        ("s3-accelerate.dualstack.amazonaws.com", None, True),
        ("s3.dualstack.eu-west-1.amazonaws.com", "eu-west-1", False),
        ("s3.dualstack.cn-north-1.amazonaws.com.cn", "cn-north-1", False),
        ("s3-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1", False),
        ("s3-fips-us-gov-west-1.amazonaws.com", "us-gov-west-1", False),
        ("s3-fips.dualstack.us-east-2.amazonaws.com", "us-east-2", False),
        ("bucket.vpce-1a2b3c4d-5e6f.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1", False),
        ("vpce-1a2b3c4d-5e6f-eu-west-1a.s3.eu-west-1.vpce.amazonaws.com", "eu-west-1", False),
        ("s3-unknown.amazonaws.com", None, False),
    ],
)
def test_aws_s_hosts_give_their_regions_and_nothing_else_does(
    host: str, region: str | None, *, is_public: bool
) -> None:
    found = settings({"fs.s3a.endpoint": host}).of("b")
    assert found == S3aBucket(url=None if is_public else f"https://{host}", region=region)
    set_here = {"fs.s3a.endpoint": host, "fs.s3a.endpoint.region": "eu-north-1"}
    assert settings(set_here).of("b").region == "eu-north-1"


@pytest.mark.parametrize("text", ["ftp://a", "https://", "https://user:pass@a/"])
def test_an_endpoint_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        settings({"fs.s3a.bucket.b.endpoint": text}).of("b")
    assert "fs.s3a.bucket.b.endpoint is no endpoint" in caught.value.message
    assert "pass" not in caught.value.message


def test_an_access_point_behind_a_bucket_s_name_is_refused(tmp_path: Path) -> None:
    name = "fs.s3a.bucket.b.accesspoint.arn"
    values = {**BASE, name: "arn:aws:s3:eu-west-1:123456789012:accesspoint/x"}
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, values)))
    with pytest.raises(ConfigurationError, match=f"line 5: {name} names an access point"):
        aws.check_bucket("b")
    with pytest.raises(PermanentError, match="E_SRC_SETTINGS"):
        S3Store(aws).list_page("b", "p/")
    assert settings(values).of("other") == S3aBucket()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"fs.s3a.endpoint.region": "us-gov-west-1"},
            S3aBucket(url="https://s3-fips.us-gov-west-1.amazonaws.com", region="us-gov-west-1"),
        ),
        (
            {"fs.s3a.endpoint": "s3.us-east-2.amazonaws.com"},
            S3aBucket(url="https://s3-fips.us-east-2.amazonaws.com", region="us-east-2"),
        ),
        (
            {"fs.s3a.endpoint": "s3-fips.dualstack.us-east-2.amazonaws.com"},
            S3aBucket(url="https://s3-fips.dualstack.us-east-2.amazonaws.com", region="us-east-2"),
        ),
        ({"fs.s3a.bucket.b.endpoint.fips": "false"}, S3aBucket()),
    ],
)
def test_s3a_s_fips_endpoint_is_the_region_s(values: dict[str, str], expected: S3aBucket) -> None:
    assert settings({"fs.s3a.endpoint.fips": "TRUE", **values}).of("b") == expected


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "needs a region"),
        ({"fs.s3a.endpoint": "minio.example.com"}, "minio.example.com has none"),
        ({"fs.s3a.endpoint": "s3.dualstack.us-east-2.amazonaws.com"}, "has none"),
    ],
)
def test_a_fips_endpoint_that_cannot_be_known_is_refused(
    values: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        settings({"fs.s3a.endpoint.fips": "true", **values}).of("b")
    assert caught.value.code == "E_CFG_HADOOP_VALUE"
    assert "fs.s3a.endpoint.fips" in caught.value.message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, ""),
        ({"fs.s3a.aws.credentials.provider": "org.a.SimpleAWSCredentialsProvider"}, ""),
        ({"fs.s3a.aws.credentials.provider": "a.b.Vault"}, "names Vault"),
        ({"fs.s3a.bucket.b.security.credential.provider.path": "jceks://x"}, "fs.s3a.bucket.b."),
        ({"hadoop.security.credential.provider.path": "jceks://x"}, "hadoop.security.credential"),
    ],
)
def test_keys_that_are_elsewhere_are_named(values: dict[str, str], words: str) -> None:
    found = settings(values).unread("b")
    assert (found == "") == (words == "")
    assert words in found


S3A = "org.apache.hadoop.fs.s3a"


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"fs.s3a.aws.credentials.provider": f"{S3A}.auth.AssumedRoleCredentialProvider"}, True),
        (
            {"fs.s3a.aws.credentials.provider": f"a.Vault,{S3A}.SimpleAWSCredentialsProvider"},
            True,
        ),
        (
            {"fs.s3a.aws.credentials.provider": f"{S3A}.SimpleAWSCredentialsProvider,a.Vault"},
            False,
        ),
        (
            {"fs.s3a.aws.credentials.provider": f"{S3A}.TemporaryAWSCredentialsProvider,a.Vault"},
            True,
        ),
        (
            {
                "fs.s3a.aws.credentials.provider": f"{S3A}.TemporaryAWSCredentialsProvider,a.Vault",
                "fs.s3a.session.token": "x",
            },
            False,
        ),
        ({"fs.s3a.bucket.b.aws.credentials.provider": "a.Vault"}, True),
        ({"fs.s3a.bucket.other.aws.credentials.provider": "a.Vault"}, False),
        ({"fs.s3a.bucket.b.security.credential.provider.path": "jceks://x"}, True),
        ({"fs.s3a.bucket.other.security.credential.provider.path": "jceks://x"}, False),
        ({"fs.s3a.security.credential.provider.path": "jceks://x"}, True),
        ({"hadoop.security.credential.provider.path": "jceks://x"}, False),
    ],
)
@pytest.mark.usefixtures("no_aws")
def test_keys_that_s3a_would_not_sign_with_are_refused_by_the_property_in_the_way(
    tmp_path: Path, values: dict[str, str], *, refused: bool
) -> None:
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, {**BASE, **values})))
    if not refused:
        aws.check_bucket("b")
        assert aws.for_bucket("b").credentials.access_key == "AKIABASE"
        return
    name = next(name for name in values if "provider" in name)
    with pytest.raises(NoReadableKeys, match=name):
        aws.for_bucket("b").credentials.get_frozen_credentials()


# ---------------------------------------------------------------- sessions and clients


@pytest.fixture
def no_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment in which AWS's chain finds no credentials."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def core(tmp_path: Path, values: dict[str, str]) -> Path:
    write(tmp_path / "core-site.xml", "".join(prop(*each) for each in values.items()))
    return tmp_path


MINIO = {
    "fs.s3a.bucket.b.endpoint": "https://minio.example.com",
    "fs.s3a.bucket.b.path.style.access": "true",
}


@pytest.mark.usefixtures("no_aws")
def test_a_bucket_gets_a_client_of_its_own_and_the_others_share_one(tmp_path: Path) -> None:
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, {**BASE, **OWN, **MINIO})))
    own, client = S3Store(aws)._for("b")
    assert own.credentials.access_key == "AKIAOWN"
    assert client.meta.endpoint_url == "https://minio.example.com"
    assert aws.for_bucket("c") is aws.for_bucket("d") is aws
    assert aws.for_bucket("b") is own


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize("bucket", ["token-events", "secrets.eu", "my.password", "orders"])
def test_a_bucket_called_after_a_secret_keeps_its_place(tmp_path: Path, bucket: str) -> None:
    own = f"fs.s3a.bucket.{bucket}"
    place = {
        f"{own}.endpoint": "https://minio.example.com",
        f"{own}.endpoint.region": "eu-north-1",
        f"{own}.path.style.access": "true",
        f"{own}.aws.credentials.provider": "a.b.SimpleAWSCredentialsProvider",
    }
    keys = {f"{own}.access.key": "AKIAOWN", f"{own}.secret.key": "t"}
    directory = core(tmp_path, {**BASE, **keys, **place})
    aws = AwsSession("us-east-1", S3aConfiguration.loader(directory)).for_bucket(bucket)
    assert aws.client("s3", Config()).meta.endpoint_url == "https://minio.example.com"
    secret = {"fs.s3a.access.key", "fs.s3a.secret.key", *keys}
    assert set(HadoopConfiguration.load(directory).secret_names()) == secret


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize(
    "variables",
    [
        {"AWS_ACCESS_KEY_ID": "AKIAENV", "AWS_SECRET_ACCESS_KEY": "s"},
        {"AWS_ENDPOINT_URL_S3": "https://s3.example.com"},
        {"AWS_ENDPOINT_URL": "https://s3.example.com"},
    ],
    ids=lambda one: next(iter(one)),
)
def test_aws_s_own_keys_and_endpoint_go_before_s3a_s_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, {**BASE, **OWN, **MINIO})))
    _, client = S3Store(aws)._for("b")
    assert "minio" not in client.meta.endpoint_url


@pytest.mark.usefixtures("no_aws")
@pytest.mark.parametrize("stale", ["https://old.example.com", "https://h h"])
def test_endpoints_that_aws_is_to_ignore_do_not_go_before_s3a_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stale: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", stale)
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, {**BASE, **OWN, **MINIO})))
    own, client = S3Store(aws)._for("b")
    assert own.uses_s3a()
    assert client.meta.endpoint_url == "https://minio.example.com"
    assert aws.client("sqs", Config()).meta.endpoint_url == "https://sqs.us-east-1.amazonaws.com"


@pytest.mark.usefixtures("no_aws")
def test_settings_of_aws_that_give_a_bucket_no_address_end_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Acceleration is AWS's own, and the bucket is elsewhere."""
    profile = "[default]\ns3 =\n  use_accelerate_endpoint = true\n"
    (tmp_path / "config").write_text(profile)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    endpoint = {"fs.s3a.bucket.b.endpoint": "https://minio.example.com"}
    aws = AwsSession(
        "us-east-1", S3aConfiguration.loader(core(tmp_path, {**BASE, **OWN, **endpoint}))
    )
    with pytest.raises(OutageError) as held:
        S3Store(aws).list_page("b", "p/")
    assert (held.value.code, held.value.dependency) == ("E_AWS_CONFIG", "credentials")
    with pytest.raises(ConfigurationError) as caught:
        aws.check_bucket("b")
    assert (caught.value.code, "Accelerate" in caught.value.message) == ("E_AWS_CONFIG", True)
    aws.check_bucket("c")


@pytest.mark.usefixtures("no_aws")
def test_in_a_worker_a_bucket_with_its_own_keys_alone_works_and_others_have_none(
    tmp_path: Path,
) -> None:
    credentials = AwsCredentials(S3aConfiguration.loader(core(tmp_path, OWN)))
    assert credentials.for_bucket("b").access_key == "AKIAOWN"
    assert credentials.for_bucket("other") is credentials
    with pytest.raises(botocore.exceptions.NoCredentialsError):
        credentials.get_frozen_credentials()


@pytest.mark.usefixtures("no_aws")
def test_what_goes_to_a_worker_holds_no_key_and_the_worker_reads_renewed_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {**OWN, "fs.s3a.bucket.b.secret.key": "canaryc0ffeeSECRET"}
    hadoop = HadoopConfiguration.load(core(tmp_path, keys))
    sent = pickle.dumps(WorkerConfiguration(hadoop=hadoop.without_secrets(), tuning=Tuning()))
    assert all(key.encode() not in sent for key in keys.values())

    reader: Any = _parts(pickle.loads(sent)).reader()  # noqa: S301 - our own bytes
    credentials: AwsCredentials = reader._credentials
    assert credentials.for_bucket("b").access_key == "AKIAOWN"
    core(tmp_path, {name: f"{value}2" for name, value in keys.items()})
    monkeypatch.setattr("backhaul.adapters.aws.credentials._LOOK_AGAIN_S", 0.0)
    credentials.forget_for("b")
    assert credentials.for_bucket("b").access_key == "AKIAOWN2"


@pytest.mark.usefixtures("no_aws")
def test_files_that_are_broken_while_the_agent_runs_are_missing_keys_and_no_end(
    tmp_path: Path,
) -> None:
    credentials = AwsCredentials(S3aConfiguration.loader(core(tmp_path, OWN)))
    text = (tmp_path / "core-site.xml").read_text()
    (tmp_path / "core-site.xml").write_text(text[:-5])
    with pytest.raises(NoReadableKeys, match="cannot be read as Hadoop configuration"):
        credentials.for_bucket("b")
    credentials.forget_for("b")
    (tmp_path / "core-site.xml").write_text(text)
    assert credentials.for_bucket("b").access_key == "AKIAOWN"


@pytest.mark.usefixtures("no_aws")
def test_settings_of_a_bucket_without_a_route_cost_its_message_alone(tmp_path: Path) -> None:
    bad = {**BASE, "fs.s3a.bucket.b.endpoint": "http://minio.example.com"}
    aws = AwsSession("us-east-1", S3aConfiguration.loader(core(tmp_path, bad)))
    with pytest.raises(PermanentError) as caught:
        S3Store(aws).list_page("b", "p/")
    assert caught.value.code == "E_SRC_SETTINGS"
    with pytest.raises(ConfigurationError, match="E_CFG_TLS"):
        aws.check_bucket("b")
    aws.check_bucket("c")


def test_settings_of_buckets_may_be_compared() -> None:
    assert {field.name for field in dataclasses.fields(S3aBucket)} == {
        *("keys_of", "url", "region", "is_path_style")
    }
    assert len({S3aBucket(), S3aBucket(), S3aBucket(region="a")}) == 2


@pytest.mark.parametrize(
    ("default", "warned"),
    [(None, 0), ("hdfs://bed", 0), ("file:///", 0), ("viewfs://bed", 1), ("s3a://b", 1)],
)
def test_a_default_file_system_that_is_no_target_is_warned_of(
    default: str | None, warned: int
) -> None:
    found = default_fs_warnings(FileSystems(default=default))
    assert len(found) == warned
    assert all(str(default) in one.reason for one in found)
