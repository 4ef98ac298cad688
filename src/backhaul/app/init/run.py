"""From answers to files; nothing is contacted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.filesystems import file_systems
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.app.init.answers import UNKNOWN_FS, InitAnswers
from backhaul.app.init.cloudformation import cloudformation
from backhaul.app.init.configuration import check_configuration, configuration_text
from backhaul.app.init.files import NewFile, check_new, config_file, default_config_path, write_all
from backhaul.app.init.infrastructure import infrastructure
from backhaul.app.init.terraform import terraform
from backhaul.core.errors import BadArgument, ConfigurationError
from backhaul.core.file_systems import FileSystems
from backhaul.settings.load import SYSTEM_CONFIG

SERVICE_LEDGER = "/var/lib/backhaul/ledger.db"
TERRAFORM_FILE = "backhaul.tf"
CLOUDFORMATION_FILE = "backhaul.template.json"
_PUBLIC = 0o644  # templates are read by others, and hold no secret


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """Where everything goes.

    Attributes:
        config: None: standard output.
        is_default: Commands find the configuration without `--config`.
    """

    config: Path | None
    is_default: bool
    terraform: Path | None = None
    cloudformation: Path | None = None

    @classmethod
    def of(
        cls, file: Path | None, terraform_to: Path | None, cloudformation_to: Path | None
    ) -> Outputs:
        """From the command line; refuses what exists before anything is asked.

        Args:
            file: None: the default place; `-`: standard output.

        Raises:
            TargetExists: E_INIT_EXISTS.
            BadArgument: E_INIT_ANSWER: two of them are the same file.
        """
        config = default_config_path() if file is None else file
        found = cls(
            config=None if str(file) == "-" else config,
            is_default=file is None,
            terraform=_in_directory(terraform_to, TERRAFORM_FILE),
            cloudformation=_in_directory(cloudformation_to, CLOUDFORMATION_FILE),
        )
        paths = found.paths
        if len({path.absolute() for path in paths}) < len(paths):
            raise BadArgument(
                "E_INIT_ANSWER",
                "two of FILE, --terraform and --cloudformation name the same file",
                hint="give each a file of its own",
            )
        check_new(paths)
        return found

    @property
    def is_of_the_service(self) -> bool:
        """The configuration is the one that the service reads."""
        return self.config is not None and self.config.is_relative_to(SYSTEM_CONFIG.parent)

    @property
    def paths(self) -> list[Path]:
        """Of the files that are made."""
        every = (self.config, self.terraform, self.cloudformation)
        return [path for path in every if path is not None]


def _in_directory(path: Path | None, name: str) -> Path | None:
    return path / name if path is not None and path.is_dir() else path


def node_file_systems() -> tuple[FileSystems, bool]:
    """Those of this node's Hadoop configuration, and whether it names a default one."""
    try:
        found = file_systems(HadoopConfiguration.load(hadoop_conf_dir()))
    except ConfigurationError:
        return UNKNOWN_FS, False  # `backhaul doctor` explains it
    if found.default is None:
        return replace(found, default=UNKNOWN_FS.default), False
    return found, True


def initialise(answers: InitAnswers, outputs: Outputs, default_fs: FileSystems) -> str:
    """Check the answers and write every file; returns the configuration's text.

    Raises:
        BadArgument: E_INIT_ANSWER.
        TargetExists: E_INIT_EXISTS: meanwhile somebody else has made one of the files.
        OSError: A file cannot be made. Then there is none of them.
    """
    answers.check_together()
    if answers.ledger is None and outputs.is_of_the_service:
        # Else `backhaul history`, typed by hand, would look below its user's home.
        answers = replace(answers, ledger=SERVICE_LEDGER)
    text = configuration_text(answers)
    check_configuration(text, default_fs)
    made = infrastructure(answers)
    files = []
    if outputs.config is not None:
        files.append(config_file(outputs.config, text, is_default=outputs.is_default))
    if outputs.terraform is not None:
        files.append(NewFile(path=outputs.terraform, text=terraform(made), mode=_PUBLIC))
    if outputs.cloudformation is not None:
        path = outputs.cloudformation
        files.append(NewFile(path=path, text=cloudformation(made), mode=_PUBLIC))
    write_all(files)
    return text
