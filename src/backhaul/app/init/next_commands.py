"""What to type after `backhaul init`, up to the first copied file and the service."""

from __future__ import annotations

import shlex

from backhaul.app.init.answers import InitAnswers
from backhaul.app.init.infrastructure import infrastructure
from backhaul.app.init.run import Outputs

Command = tuple[str, str]  # what it is for, and what to type
_FILE = "file://"
_AWS_DIRECTORY = "/var/lib/backhaul/.aws"  # in the home of the agent's user


def next_commands(answers: InitAnswers, outputs: Outputs) -> list[Command]:
    """In their order, each with what it is for; quoted for a shell."""
    found = _in_aws(answers, outputs)
    if outputs.is_of_the_service:
        # Without a template AWS has all of it, the key included.
        is_new = outputs.terraform is not None or outputs.cloudformation is not None
        if is_new and answers.trusted_by is None:
            found += _credentials(answers)
        found.append(_destination(answers))
    found += _first_copy(answers, outputs)
    if outputs.is_of_the_service:
        purpose = "run it as a service; first set QUEUE and REGION in /etc/backhaul/agent.env"
        found.append((purpose, "systemctl enable --now backhaul"))
    return found


def _in_aws(answers: InitAnswers, outputs: Outputs) -> list[Command]:
    found = []
    if outputs.terraform is not None:
        at = str(outputs.terraform.parent)
        found.append(("download the AWS provider", _shell("terraform", f"-chdir={at}", "init")))
        apply = _shell("terraform", f"-chdir={at}", "apply")
        found.append(("make queue and permissions", f"AWS_REGION={answers.region} {apply}"))
    if outputs.cloudformation is not None:
        name = f"backhaul-{answers.queue.replace('_', '-').replace('.', '-')}"
        deploy = ["aws", "cloudformation", "deploy", "--stack-name", name]
        deploy += ["--template-file", str(outputs.cloudformation), "--region", answers.region]
        deploy += ["--capabilities", "CAPABILITY_NAMED_IAM"]
        found.append(("make queue and permissions", _shell(*deploy)))
    return found


def _credentials(answers: InitAnswers) -> list[Command]:
    user = infrastructure(answers).agent_name
    owned = ["-o", "backhaul", "-g", "backhaul"]
    return [
        (
            "make the agent's access key",
            _shell("aws", "iam", "create-access-key", "--user-name", user),
        ),
        (
            "write it as a profile [default]: aws_access_key_id = ..., aws_secret_access_key = ...",
            _shell("install", "-d", *owned, "-m", "0700", _AWS_DIRECTORY),
        ),
        ("", _shell("sudo", "-u", "backhaul", "vi", f"{_AWS_DIRECTORY}/credentials")),
    ]


def _destination(answers: InitAnswers) -> Command:
    where = answers.destination.rstrip("/") or "/"
    if where.startswith(_FILE):
        made = _shell(
            "install", "-d", "-o", "backhaul", "-g", "backhaul", where.removeprefix(_FILE)
        )
        return "make the directory that the agent writes", made
    make = _shell("hdfs", "dfs", "-mkdir", "-p", where)
    own = _shell("hdfs", "dfs", "-chown", "backhaul", where)
    return "make the directory that the agent writes, as HDFS's superuser", f"{make} && {own}"


def _first_copy(answers: InitAnswers, outputs: Outputs) -> list[Command]:
    config = (
        [] if outputs.is_default or outputs.config is None else ["--config", str(outputs.config)]
    )
    # As root the ledger would be root's, and closed to the service.
    backhaul = ["sudo", "-u", "backhaul", "backhaul"] if outputs.is_of_the_service else ["backhaul"]
    queue = [answers.queue, answers.region]
    line = f"{answers.sources[0].uri}, {answers.destination}"
    found = [
        ("check everything", _shell(*backhaul, "doctor", *queue, *config)),
        (
            "see what a message would do",
            f"echo {shlex.quote(line)} | {_shell(*backhaul, 'explain', *config)}",
        ),
    ]
    if not answers.takes_events:
        found.append(("leave a message, wherever the AWS CLI may send", _sending(answers, line)))
    drain = _shell(*backhaul, "run", *queue, "--drain", *config)
    history = _shell(*backhaul, "history", *config)
    return [*found, ("copy what the queue has, then stop", drain), ("see what came of it", history)]


def _sending(answers: InitAnswers, line: str) -> str:
    """The queue's URL has the account, which only AWS knows."""
    region = ["--region", answers.region]
    url = ["aws", "sqs", "get-queue-url", *region, "--queue-name", answers.queue]
    url += ["--query", "QueueUrl", "--output", "text"]
    send = _shell("aws", "sqs", "send-message", *region, "--queue-url")
    more = ["--message-group-id", answers.name] if answers.is_fifo else []
    return f'{send} "$({_shell(*url)})" {_shell("--message-body", line, *more)}'


def _shell(*words: str) -> str:
    return shlex.join(words)
