"""boto3 clients and process environments that know the test bed and nothing of the developer's AWS.

No profile, no configuration file, no variable AWS_* and no proxy of the shell has any effect here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config

from backhaul.testing.servers.base import HttpServer
from backhaul.testing.servers.hdfs import Hdfs

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

REGION = "us-east-1"
_NO_FILE = "/dev/null"


def sqs_client(server: HttpServer) -> SQSClient:
    """SQS on ElasticMQ or moto."""
    return _session().client(
        "sqs",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(proxies={}),
    )


def s3_client(server: HttpServer) -> S3Client:
    """S3 on S3Proxy or moto, path style."""
    return _session().client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )


def settings(
    *, sqs: HttpServer | None = None, s3: HttpServer | None = None, hdfs: Hdfs | None = None
) -> dict[str, str]:
    """Variables by which any AWS or Hadoop client finds these servers.

    Args:
        sqs: Whose endpoint; both it and `s3` take the keys of `s3`.
        s3: Whose endpoint and keys.
        hdfs: Whose configuration.
    """
    found = {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}
    if sqs is not None:
        found["AWS_ENDPOINT_URL_SQS"] = sqs.endpoint
    if s3 is not None:
        found["AWS_ENDPOINT_URL_S3"] = s3.endpoint
    if keys := s3 or sqs:
        found["AWS_ACCESS_KEY_ID"] = keys.access_key
        found["AWS_SECRET_ACCESS_KEY"] = keys.secret_key
    if hdfs is not None:
        found["HADOOP_CONF_DIR"] = str(hdfs.conf_dir)
    return found


def environment(
    *, sqs: HttpServer | None = None, s3: HttpServer | None = None, hdfs: Hdfs | None = None
) -> dict[str, str]:
    """Whole environment for a child process: this one's without AWS_* and HADOOP_*, and `settings`.

    With `hdfs`, PATH begins with its `hadoop` and `hdfs`.
    """
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "HADOOP_"))}
    if hdfs is not None:
        kept["PATH"] = f"{hdfs.bin_dir}{os.pathsep}{kept.get('PATH', os.defpath)}"
    return {
        **kept,
        **settings(sqs=sqs, s3=s3, hdfs=hdfs),
        "AWS_CONFIG_FILE": _NO_FILE,
        "AWS_SHARED_CREDENTIALS_FILE": _NO_FILE,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }


def _session() -> boto3.Session:
    # Each entry: key in the file, variable, value when neither is there, conversion. An AWS_PROFILE
    # that is not in the file would otherwise fail here, although the keys are given.
    nowhere = {
        "profile": (None, None, None, None),
        "config_file": (None, None, _NO_FILE, None),
        "credentials_file": (None, None, _NO_FILE, None),
    }
    session = botocore.session.Session(session_vars=nowhere)
    return boto3.Session(botocore_session=session, region_name=REGION)
