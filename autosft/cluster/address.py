"""Which cluster is meant, and whether it may be joined: its address, its token and its versions, within seconds.

Ray itself tries an address for minutes and takes a wrong token for a network that is down, so all of this is asked
before Ray is.
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from autosft.errors import PlanError, explain

Answer = TypeVar("Answer")

#: A cluster that is up answers within milliseconds; one that is far away or busy, within this.
ANSWER_SECONDS = 10.0

#: What opens a connection that gRPC speaks (HTTP/2, RFC 9113): the client's preface with empty settings. What answers
#: with settings of its own is no web page, database or shell.
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS = 4

_DEFAULT_PORT = 6379


def resolve(cluster: str | None) -> str | None:
    """Returns the host:port that a `cluster` argument stands for, or None where Ray is to be started here.

    Args:
        cluster: "local" or None, "auto" (RAY_ADDRESS, else the cluster that runs on this machine), or host:port.

    Raises:
        PlanError: It is none of these, or "auto" finds none.
    """
    if cluster in (None, "local"):
        return None
    assert cluster is not None
    return _host_and_port(_found() if cluster.strip() == "auto" else cluster.strip())


def check_form(cluster: str | None) -> None:
    """Raises PlanError where a `cluster` argument cannot be meant, whatever runs where."""
    if cluster not in (None, "local", "auto"):
        resolve(cluster)


def _host_and_port(given: str) -> str:
    """Returns an address with its port; raises PlanError where it is none."""
    if "://" in given:
        raise PlanError(other_scheme(given))
    host, _, port = given.rpartition(":") if _has_port(given) else (given, "", str(_DEFAULT_PORT))
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        wrong = f"cluster={given!r} is no address of a cluster"
        fix = "pass host:port as `ray start --head` prints it, 'auto' on the cluster's head, or 'local'"
        raise PlanError(explain(wrong=wrong, expected="host:port, 'auto' or 'local'", fix=fix))
    return f"{host}:{port}"


def _has_port(given: str) -> bool:
    # The colons inside the brackets of an IPv6 address are none of a port.
    return ":" in given.rpartition("]")[2]


def _found() -> str:
    from ray._private.services import get_ray_address_from_environment

    try:
        return str(get_ray_address_from_environment("auto", None))
    except ConnectionError as error:
        wrong = "cluster='auto' finds no running Ray: RAY_ADDRESS is not set, and none was started on this machine"
        fix = "run `ray start --head` here first, pass host:port, or leave cluster= out to use this machine alone"
        raise PlanError(explain(wrong=wrong, expected="a running cluster", fix=fix)) from error


def other_scheme(address: str) -> str:
    """Words why an address of another kind is none to search on."""
    scheme = address.partition("://")[0]
    if scheme == "ray":
        wrong = f"cluster={address!r} is a Ray Client address, and a search cannot run through one"
    else:
        wrong = f"cluster={address!r} is an address of a {scheme} server, not of a cluster"
    return explain(
        wrong=wrong,
        expected="host:port of the cluster's head, which this machine can reach on every port",
        fix="send the command there: autosft submit --address http://HEAD:8265 -- fit ...; "
        "or run it on the head with cluster='auto'",
    )


def check_reachable(address: str) -> None:
    """Makes sure that a cluster answers at host:port, lets this process in, and runs the same Ray and Python.

    Where it wants a token and one is here, this process uses it from now on.

    Raises:
        PlanError: What is in the way, and what to change.
    """
    host, _, port = address.rpartition(":")
    place = (host.strip("[]"), int(port))
    try:
        answer = _answer(place)
    except OSError as error:
        raise PlanError(_unreachable(address, f"{error.strerror or error}")) from error
    if not answer:
        raise PlanError(_unreachable(address, "something answers there, but it is no Ray"))
    metadata = let_in(address, lambda: _metadata(address))
    here = {"ray": _ray_version(), "python": platform.python_version()}
    there = {"ray": metadata["ray_version"], "python": metadata["python_version"]}
    check_versions(here, there, f"the head at {address}")


def _answer(place: tuple[str, int]) -> bool:
    """Whether what listens there speaks HTTP/2; raises OSError where nothing listens."""
    with socket.create_connection(place, timeout=ANSWER_SECONDS) as connection:
        connection.settimeout(ANSWER_SECONDS / 2)
        try:
            connection.sendall(_HELLO)
            frame = connection.recv(9)
        except OSError:
            return False
    return len(frame) > 3 and frame[3] == _SETTINGS


def _unreachable(address: str, why: str) -> str:
    return explain(
        wrong=f"no Ray cluster could be joined at cluster={address!r} ({why})",
        expected="the address of a running cluster, as `ray start --head` prints it",
        fix="start the cluster, correct the address, or leave cluster= out to use this machine",
    )


def let_in(address: str, ask: Callable[[], Answer]) -> Answer:
    """Asks a cluster something, with a token only where it refuses to answer without one.

    Args:
        address: Of what is asked, for messages.
        ask: Raises ray's AuthenticationError where it is refused.

    Raises:
        PlanError: It asks for a token and there is none, or not the right one.
    """
    from ray.exceptions import AuthenticationError

    if token_mode() and not _has_token():
        # Ray would end this process.
        raise PlanError(_no_token(address))
    try:
        return ask()
    except AuthenticationError as error:
        refused = error
    if token_mode():
        raise PlanError(_wrong_token(address)) from refused
    if mode := os.environ.get("RAY_AUTH_MODE"):
        wrong = f"the cluster at {address} asks for a token, and RAY_AUTH_MODE={mode} sends none"
        fix = "unset RAY_AUTH_MODE or set it to token"
        raise PlanError(explain(wrong=wrong, expected="RAY_AUTH_MODE=token", fix=fix)) from refused
    if not _has_token():
        raise PlanError(_no_token(address)) from refused
    send_token()
    try:
        return ask()
    except AuthenticationError as error:
        raise PlanError(_wrong_token(address)) from error


def token_mode() -> bool:
    """Whether this process sends a token to the Ray it talks to."""
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def send_token() -> None:
    """Has this process, and those it starts, send the token from now on."""
    os.environ["RAY_AUTH_MODE"] = "token"
    inner = _inner()
    inner.Config.initialize("")
    inner.AuthenticationTokenLoader.instance().reset_cache()


def _has_token() -> bool:
    from ray.exceptions import AuthenticationError

    try:
        return bool(_inner().AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True))
    except AuthenticationError:  # RAY_AUTH_TOKEN_PATH names a file that is not there or is empty.
        return False


def token_source() -> str:
    """Says where this process takes its token from, never the token itself."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "the environment variable RAY_AUTH_TOKEN"
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return f"the file {path}, which RAY_AUTH_TOKEN_PATH names"
    return "the file ~/.ray/auth_token"


_WHERE_TOKENS_ARE = (
    "put the token of the cluster's head (`ray get-auth-token` prints it there) into ~/.ray/auth_token here, "
    "or name its file in RAY_AUTH_TOKEN_PATH"
)


def _no_token(address: str) -> str:
    return explain(
        wrong=f"the cluster at {address} asks for a token, and there is none: {token_source()} holds nothing",
        expected="the cluster's token",
        fix=_WHERE_TOKENS_ARE,
    )


def _wrong_token(address: str) -> str:
    return explain(
        wrong=f"the cluster at {address} refuses the token in {token_source()}",
        expected="the token that the cluster was started with",
        fix=_WHERE_TOKENS_ARE,
    )


def _metadata(address: str) -> dict[str, str]:
    """Asks the head which Ray and Python it runs; raises ray's AuthenticationError where it lets nobody in."""
    found: list[Any] = []

    def ask() -> None:
        try:
            client = _inner().GcsClient(address=address)
            found.append(client.internal_kv_get(b"CLUSTER_METADATA", namespace=b"cluster", timeout=ANSWER_SECONDS))
        except Exception as error:  # Ray's own, of several kinds: handed to the caller's thread.
            found.append(error)

    # Ray takes forty seconds to give up.
    asking = threading.Thread(target=ask, name="autosft-ask-cluster", daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    from ray.exceptions import AuthenticationError

    answer = found[0] if found else None
    if isinstance(answer, AuthenticationError):
        raise answer
    if not isinstance(answer, bytes):
        why = "it speaks gRPC, but is no head of a cluster"
        raise PlanError(_unreachable(address, why if answer is None else f"{why}: {str(answer).splitlines()[0]}"))
    metadata: dict[str, str] = json.loads(answer)
    return metadata


def _inner() -> Any:
    """Returns Ray's own compiled module, which has no types."""
    import ray

    return ray._raylet


def _ray_version() -> str:
    import ray

    return str(ray.__version__)


def check_versions(here: dict[str, str], there: Mapping[str, str | None], place: str) -> None:
    """Compares versions of what both sides exchange objects with.

    Of Python major and minor have to agree, of Ray and autosft all.

    Raises:
        PlanError: They differ, or one is missing there.
    """
    wrong = []
    for name, own in here.items():
        other = there.get(name)
        if other is None:
            wrong.append(f"has no {name}, and {own} is here")
        elif (own.split(".")[:2] != other.split(".")[:2]) if name == "python" else own != other:
            wrong.append(f"runs {name} {other}, and {own} is here")
    if wrong:
        fix = "install the same versions on every node, for example by the same image or the same requirements file"
        raise PlanError(
            explain(wrong=f"{place} {'; it '.join(wrong)}", expected="the same Python, ray and autosft", fix=fix)
        )
