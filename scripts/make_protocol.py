"""Generate the Python messages of Hadoop's protocols from `adapters/hadoop/protocol/*.proto`.

`tests/unit/test_hadoop_protocol.py` fails when the files in the repository differ from the output.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
PROTOCOL = SOURCE / "backhaul" / "adapters" / "hadoop" / "protocol"


def generate(output: Path) -> None:
    """Write `*_pb2.py` and `*_pb2.pyi` below a directory, each where its package has it."""
    protos = sorted(path.relative_to(SOURCE).as_posix() for path in PROTOCOL.glob("*.proto"))
    options = [f"-I{SOURCE}", f"--python_out={output}", f"--pyi_out={output}"]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *protos], check=True)


if __name__ == "__main__":
    generate(SOURCE)
