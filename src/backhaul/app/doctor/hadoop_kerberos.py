"""Why Kerberos refuses: the client's own words, and what MIT's tools find out beside it.

The HDFS client has tried already, so nothing is called wrong that works. Its words often name the
cause; where a keytab is of no use they do not, and `kinit` and `klist` are run: they change no
cache but one of their own.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from backhaul.access import user_name
from backhaul.adapters.hadoop.kerberos import Login
from backhaul.core.text import printable, redacted

TOOL_TIMEOUT_S = 20.0
KRB5_CONF = "/etc/krb5.conf"
NO_TOOLS = "apt-get install krb5-user, or dnf install krb5-workstation    # kinit and klist say why"

Run = Callable[[Sequence[str]], str | None]
"""Runs a program: its output, or None where it is not there or hangs."""

Fixes = Callable[[Login, str], Iterator[str]]
"""Of the agent's login, and of what the pattern's group has found."""


class Diagnosis(NamedTuple):
    """The check that fails, why in one clause, and the fix."""

    check: str
    text: str
    fix: tuple[str, ...]


# ---------------------------------------------------------------- the fixes


def _clock(_login: Login, _found: str) -> Iterator[str]:
    yield "chronyc tracking; timedatectl    # how far this machine's clock is off"
    yield "timedatectl set-ntp true && chronyc makestep    # Kerberos allows 5 minutes"


def _kdc(_login: Login, realm: str) -> Iterator[str]:
    yield f"{krb5_conf()}: [realms] {realm} = {{ kdc = KDC_HOST:88 }}    # is this the right host?"
    yield "nc -vz -w 5 KDC_HOST 88    # TCP and UDP 88 have to be open from here"


def _realm(_login: Login, realm: str) -> Iterator[str]:
    yield f"{krb5_conf()}: [realms] {realm} = {{ kdc = KDC_HOST:88 }}"
    yield f"or correct the realm of [kerberos] principal, if {realm} is not meant"


def _configuration(_login: Login, _found: str) -> Iterator[str]:
    yield f"copy {KRB5_CONF} from a node of the cluster, or set KRB5_CONFIG to such a file"
    yield "it needs [libdefaults] default_realm = REALM, and [realms] REALM = { kdc = KDC_HOST }"


def _expired(login: Login, _found: str) -> Iterator[str]:
    yield f"{renewal(login)}    # as {user_name()}"
    yield f"klist{_cache(login)}    # when it ends"
    if not login.keytab:
        yield "[kerberos] principal and keytab in backhaul.toml: then the agent renews by itself"


def _no_ticket(login: Login, _found: str) -> Iterator[str]:
    yield f"klist{_cache(login)}    # as {user_name()}: what is there"
    yield f"{renewal(login)}    # as {user_name()}"
    if not login.keytab:
        yield "or [kerberos] principal and keytab in backhaul.toml, which a service needs"


def _old_key(login: Login, _found: str) -> Iterator[str]:
    keytab, principal = login.keytab or "KEYTAB", _principal(login)
    yield f"klist -kte {keytab}    # the version of its key"
    yield f"kadmin -q 'getprinc {principal}'    # the version that the KDC has"
    yield f"kadmin -q 'ktadd -k {keytab} {principal}'    # a new key; copies of the old one end"


def _bad_keytab(login: Login, _found: str) -> Iterator[str]:
    keytab = login.keytab or "KEYTAB"
    yield f"klist -kt {keytab}"
    yield f"install -o {user_name()} -m 600 THE_RIGHT_KEYTAB {keytab}"


def _unknown(login: Login, principal: str) -> Iterator[str]:
    yield f"kadmin -q 'addprinc -randkey {principal}'    # or correct [kerberos] principal"
    if login.keytab:
        yield f"klist -kt {login.keytab}    # the principals that it has keys of"


def _cross_realm(_login: Login, realms: str) -> Iterator[str]:
    wanted, _, own = realms.partition("@")
    yield f"kinit PRINCIPAL@{wanted}    # a ticket of {own} is of no use there"
    yield f"or let the realms trust each other: krbtgt/{realms} in both KDCs"


def _host_name(_login: Login, service: str) -> Iterator[str]:
    yield f"{krb5_conf()}: [libdefaults] dns_canonicalize_hostname = false, and rdns = false"
    yield "hdfs getconf -confKey dfs.namenode.kerberos.principal    # NAME/_HOST@REALM"
    yield "write that HOST in the route or in dfs.namenode.rpc-address.*, no alias and no address"
    yield f"the KDC has no {service}: is its domain in [domain_realm] of {krb5_conf()}?"


def _encryption(login: Login, _found: str) -> Iterator[str]:
    yield f"{krb5_conf()}: permitted_enctypes has to hold one of the KDC's and the keytab's types"
    yield f"klist -e; klist -kte {login.keytab or 'KEYTAB'}"


# ---------------------------------------------------------------- the causes


class _Cause(NamedTuple):
    pattern: str
    check: str
    text: str
    fixes: Fixes


_CAUSES = (
    _Cause(
        "Clock skew too great()",
        "kerberos.clock",
        "the clocks of this machine and of the KDC differ too much",
        _clock,
    ),
    _Cause(
        r"Cannot contact any KDC for (?:requested )?realm ?'?([^\s',]*)",
        "kerberos.kdc",
        "no KDC of the realm answers",
        _kdc,
    ),
    _Cause(
        r"Cannot (?:find|resolve|locate)[^\"']* realm ?[\"']?([^\s\"',]*)",
        "kerberos.realm",
        "the realm is not known on this node",
        _realm,
    ),
    _Cause(
        "(?:default realm|onfiguration file|Improper format of Kerberos)()",
        "kerberos.configuration",
        "krb5.conf is missing, or cannot be used",
        _configuration,
    ),
    _Cause("[Tt]icket expired()", "kerberos.ticket", "the ticket has expired", _expired),
    _Cause(
        "(?:Decrypt integrity check failed|Password incorrect|Preauthentication failed)()",
        "kerberos.keytab",
        "the keytab's key is not the one that the KDC has",
        _old_key,
    ),
    _Cause(
        "(?:key table|[Kk]eytab.*not found|Bad format in keytab)()",
        "kerberos.keytab",
        "the keytab cannot be used",
        _bad_keytab,
    ),
    _Cause(
        r"Client '?([^\s']+)'? not found in Kerberos database",
        "kerberos.principal",
        "the KDC does not know the agent's principal",
        _unknown,
    ),
    _Cause(
        r"Server krbtgt/(\S+) not found",
        "kerberos.realm",
        "the ticket is of another realm",
        _cross_realm,
    ),
    _Cause(
        r"Server (\S*) ?not found in Kerberos database",
        "kerberos.host_name",
        "the KDC does not know the NameNode by this name",
        _host_name,
    ),
    _Cause(
        "(?:encryption type|enctype)()",
        "kerberos.encryption",
        "the KDC and this node share no encryption type",
        _encryption,
    ),
)
# Also the client's words where a keytab is of no use, whatever the reason.
_NO_TICKET = _Cause("()", "kerberos.ticket", "there is no ticket", _no_ticket)
_BAD_KEYTAB = _Cause("()", "kerberos.keytab", "the keytab is of no use", _bad_keytab)


def diagnose(login: Login, words: str, run: Run | None = None) -> Diagnosis:
    """Why the agent is refused.

    Args:
        words: The client's error.
    """
    if (found := krb5_conf_fault()) is not None:
        return found
    if login.keytab and (found := _keytab_file_fault(login)) is not None:
        return found
    if (found := _by_words(login, words)) is not None:
        return found
    run = run or run_tool
    if login.keytab:
        return _of_keytab(login, run)
    listed = run(["klist", *(["-c", login.cache] if login.cache else [])])
    found = _made(_NO_TICKET, login, "")
    if listed and "Default principal" in listed:
        return found._replace(text=f"the ticket is of no use: {_last_line(words)}")
    return found


def krb5_conf_fault() -> Diagnosis | None:
    """None where Kerberos' configuration is there."""
    named = os.environ.get("KRB5_CONFIG") or KRB5_CONF
    if any(os.access(path, os.R_OK) for path in named.split(":") if path):
        return None
    missing = _Cause("()", "kerberos.configuration", f"{named} is not there", _configuration)
    return _made(missing, Login(), "")


def krb5_conf() -> str:
    """Where this process looks for it first."""
    return (os.environ.get("KRB5_CONFIG") or KRB5_CONF).split(":")[0]


def renewal(login: Login) -> str:
    """The command that brings a new ticket."""
    if login.keytab:
        return f"kinit -k -t {login.keytab} {_principal(login)}"
    return f"kinit{_cache(login)} {_principal(login)}"


def _keytab_file_fault(login: Login) -> Diagnosis | None:
    keytab = Path(login.keytab or "")
    if not keytab.is_file():
        text = f"the keytab {keytab} is not there"
    elif not os.access(keytab, os.R_OK):
        text = f"{user_name()} may not read the keytab {keytab}"
    else:
        return None
    return _made(_BAD_KEYTAB, login, "")._replace(text=text)


def _of_keytab(login: Login, run: Run) -> Diagnosis:
    """`kinit` from the keytab, into a cache of its own."""
    keytab, principal = login.keytab or "", _principal(login)
    with tempfile.TemporaryDirectory(prefix="backhaul-doctor-") as scratch:
        said = run(["kinit", "-k", "-t", keytab, "-c", f"FILE:{scratch}/cache", principal])
    if said is None:
        found = _made(_BAD_KEYTAB, login, "")
        return found._replace(fix=(*found.fix, NO_TOOLS))
    if "no suitable keys" not in said:
        return _by_words(login, said) or _made(_BAD_KEYTAB, login, "")
    listed = run(["klist", "-k", keytab]) or ""
    held = list(dict.fromkeys(re.findall(r"^\s*\d+ (\S+)$", listed, re.MULTILINE)))
    return _other_principal(login, principal, held)


def _other_principal(login: Login, principal: str, held: Sequence[str]) -> Diagnosis:
    shown = printable(", ".join(held), 300) or "nothing"
    name, _, realm = principal.partition("@")
    is_realm = bool(realm) and any(one.startswith(f"{name}@") for one in held)
    fix = [f"klist -kt {login.keytab}"]
    if held:
        best = next((one for one in held if one.startswith(f"{name}@")), held[0])
        fix.append(f'[kerberos] principal = "{best}" in backhaul.toml')
    fix.append(f"or a keytab with {principal}: kadmin -q 'ktadd -k {login.keytab} {principal}'")
    return Diagnosis(
        "kerberos.realm" if is_realm else "kerberos.keytab",
        f"the keytab has no key of {principal}, it has {shown}",
        tuple(fix),
    )


def _by_words(login: Login, words: str) -> Diagnosis | None:
    for cause in _CAUSES:
        if match := re.search(cause.pattern, words):
            return _made(cause, login, match[1])
    return None


def _made(cause: _Cause, login: Login, found: str) -> Diagnosis:
    return Diagnosis(cause.check, cause.text, tuple(cause.fixes(login, found)))


def _principal(login: Login) -> str:
    return login.principal or "PRINCIPAL"


def _cache(login: Login) -> str:
    return f" -c {login.cache}" if login.cache else ""


def _last_line(words: str) -> str:
    return printable(redacted(words.rsplit("information: ", 1)[-1]), 300)


def run_tool(argv: Sequence[str]) -> str | None:
    """See `Run`; in English, and without a terminal to ask for a password."""
    program = shutil.which(argv[0])
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *argv[1:]],
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout + done.stderr
