"""Write the JSON Schemas of the manual: `docs/schema/{message,configuration}.schema.json`.

The configuration's comes from `settings.Settings`, the message's stands here by hand, with the
values of its options from `core.model`. `tests/docs/test_schemas.py` holds both against the real
parsers and fails when the files are not what this script writes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from backhaul.core.model import EngineName, OnExists, PublishMode, VerifyLevel
from backhaul.settings import schema

DRAFT = "https://json-schema.org/draft/2020-12/schema"
DIRECTORY = Path(__file__).parent.parent / "docs" / "schema"
# What `settings.parse_size` reads besides a number of bytes.
SIZE = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|[kMGTP]B|[KMGTP]iB)?\s*$"}
SIZES = (
    ("LimitSettings", "bytes"),
    ("LogSection", "file_bytes"),
    ("DistcpSection", "auto_min_bytes"),
    ("DistcpSection", "auto_min_mean_bytes"),
    ("DistcpSection", "bytes_per_map"),
    ("DistcpSection", "bandwidth"),
)


def message_schema() -> dict[str, Any]:
    """The JSON form of a message; a line is no JSON and has no schema."""
    choices = {
        "on_exists": (OnExists, "what a file that stands there already means"),
        "publish": (PublishMode, "how a verified tree appears"),
        "engine": (EngineName, "what carries the bytes"),
        "verify": (VerifyLevel, "how much proof"),
    }
    return {
        "$schema": DRAFT,
        "title": "Backhaul message, version 1",
        "description": "This S3 path, to that directory.",
        "type": "object",
        "additionalProperties": False,
        "required": ["v", "source", "destination"],
        "properties": {
            "v": {"const": 1, "description": "version of this form"},
            "source": {
                "type": "string",
                "pattern": "^(s3a?://)?[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/",
                "description": "s3://bucket/key for an object, s3://bucket/prefix/ for all below",
            },
            "destination": {
                "type": "string",
                "pattern": "^(/|hdfs://[^/ ]+/|file:///)(.*[^ ])?$",
                "description": "a directory: /dir, hdfs://nameservice/dir or file:///dir",
            },
            "options": {
                "type": "object",
                "description": "may only tighten the route",
                "additionalProperties": False,
                "properties": {
                    name: {"enum": [str(choice) for choice in values], "description": means}
                    for name, (values, means) in choices.items()
                },
            },
        },
    }


def configuration_schema() -> dict[str, Any]:
    """The configuration file as pydantic sees it, and sizes as text besides."""
    made = {"$schema": DRAFT, **schema(), "title": "Backhaul configuration"}
    for section, name in SIZES:
        field = made["$defs"][section]["properties"][name]
        kinds = field.pop("anyOf", None) or [
            {key: field.pop(key) for key in ("type", "minimum") if key in field}
        ]
        field["anyOf"] = [*kinds, SIZE]
    return made


def texts() -> dict[str, str]:
    """File name to content."""
    return {
        f"{name}.schema.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n"
        for name, document in (
            ("message", message_schema()),
            ("configuration", configuration_schema()),
        )
    }


if __name__ == "__main__":
    for file_name, text in texts().items():
        (DIRECTORY / file_name).write_text(text, encoding="utf-8")
