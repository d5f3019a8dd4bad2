"""Which API server is meant, and with whose credentials; asks the server nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kubernetes.client import ApiClient, Configuration
from kubernetes.config import (
    ConfigException,
    list_kube_config_contexts,
    load_incluster_config,
    load_kube_config,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from cluster.target import TargetError

_LOGINS = {
    "aws": "aws sso login",
    "aws-iam-authenticator": "aws sso login",
    "doctl": "doctl auth init",
    "gke-gcloud-auth-plugin": "gcloud auth login",
    "kubelogin": "az login",
    "oci": "oci session authenticate",
    "tsh": "tsh login",
}
"""Programs that give tokens to a kubeconfig -> the command by which a person logs in."""


@dataclass(frozen=True, kw_only=True)
class Access:
    """One way into one cluster, as messages name it."""

    server: str
    context: str
    user: str
    login: str
    """The command that gives new credentials, as far as one can tell."""


def load_client(context: str | None) -> tuple[ApiClient, Access]:
    """Return a client with fresh credentials, and what to call its way in.

    Args:
        context: One of the kubeconfig; None means the current one, and inside a pod without a
            kubeconfig the pod's service account.

    Raises:
        TargetError: There is no kubeconfig, no such context, or no credentials.
    """
    configuration = Configuration()
    files = _files()
    if not files and context is None and "KUBERNETES_SERVICE_HOST" in os.environ:
        try:
            load_incluster_config(client_configuration=configuration)
        except ConfigException as error:
            raise TargetError(f"this pod has no service account to use: {error}") from error
        access = Access(
            server=configuration.host,
            context="service account of this pod",
            user="this pod's service account",
            login="a new pod",
        )
    elif not files:
        raise TargetError(
            "no kubeconfig: set KUBECONFIG, or have your cluster's tool write ~/.kube/config"
        )
    else:
        access = _load_file(configuration, context)
    # Api does the retries: those of the connection pool would neither wait nor be bounded with it.
    configuration.retries = False
    return ApiClient(configuration), access


def _load_file(configuration: Any, context: str | None) -> Access:
    location = os.pathsep.join(_files())
    try:
        plugins = _plugins()
        contexts, current = list_kube_config_contexts(location)
        names = [entry["name"] for entry in contexts]
        wanted = context or (current or {}).get("name", "")
        if wanted not in names:
            near = get_close_matches(wanted, names, 1)
            raise TargetError(
                f"context: the kubeconfig {location} has no context {wanted!r}; "
                f"it has {', '.join(sorted(names))}" + (f"; meant: {near[0]}" if near else "")
            )
        load_kube_config(location, wanted, client_configuration=configuration)
    except (ConfigException, OSError, YAMLError) as error:
        raise TargetError(f"the kubeconfig {location} cannot be used: {error}") from error
    user = next(entry for entry in contexts if entry["name"] == wanted)["context"].get("user", "")
    plugin = plugins.get(user, f"kubectl --context {wanted} auth whoami")
    return Access(
        server=configuration.host,
        context=f"context {wanted}",
        user=f"user {user!r} of context {wanted!r}",
        login=_LOGINS.get(Path(plugin).name, plugin),
    )


def _plugins() -> dict[str, str]:
    """Return the programs that give tokens, by user; the first file that names a user counts."""
    found: dict[str, str] = {}
    for file in _files():
        content = YAML(typ="safe").load(Path(file)) or {}
        for entry in content.get("users") or []:
            plugin = ((entry.get("user") or {}).get("exec") or {}).get("command")
            if plugin:
                found.setdefault(entry.get("name", ""), plugin)
    return found


def _files() -> list[str]:
    """Return the kubeconfig files that there are, in kubectl's order."""
    named = os.environ.get("KUBECONFIG") or "~/.kube/config"
    paths = [Path(part).expanduser() for part in named.split(os.pathsep) if part]
    return [str(path) for path in paths if path.is_file()]
