"""Write the shell completions into OUTDIR: `python scripts/make_completions.py OUTDIR`.

| file | installed as |
|---|---|
| `backhaul.bash` | `/usr/share/bash-completion/completions/backhaul` |
| `_backhaul` | the same in `/usr/share/zsh/vendor-completions/` or `zsh/site-functions/` |
| `backhaul.fish` | `/usr/share/fish/vendor_completions.d/backhaul.fish` |

The same input gives the same bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

from backhaul.cli import cli
from backhaul.cli.completion import SHELLS, script

NAMES = {"bash": "backhaul.bash", "zsh": "_backhaul", "fish": "backhaul.fish"}


def texts() -> dict[str, str]:
    """The files by name."""
    return {NAMES[shell]: script(cli, shell) for shell in SHELLS}


def main(directory: Path) -> None:
    """Write all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts().items():
        (directory / name).write_text(text, "utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:  # noqa: PLR2004 - itself and one argument
        sys.exit(f"usage: {sys.argv[0]} OUTDIR")
    main(Path(sys.argv[1]))
