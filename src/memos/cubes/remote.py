"""Dumps from elsewhere: archives by http(s), directories from git repositories."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from memos import network
from memos.errors import ConfigError, DataError, InvalidInput, StoreError
from memos.network import Policy, Vetted
from memos.progress import Progress

_GIT: Final = "git+"
_POLL_S: Final = 0.2
_SAFE: Final = (
    "core.hooksPath=/dev/null",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "protocol.allow=never",
    "protocol.http.allow=always",
    "protocol.https.allow=always",
    "http.followRedirects=false",
    "transfer.fsckObjects=true",
    "credential.helper=",
    "submodule.recurse=false",
)
"""Nothing of the repository runs, and nothing but the vetted address is spoken to."""


def is_remote(source: str) -> bool:
    """Whether a source is an address and not a path."""
    return "://" in source


@contextmanager
def fetched(source: str, policy: Policy, progress: Progress | None) -> Generator[Path]:
    """Fetch a dump into a temporary directory.

    Args:
        source: ``https://.../x.memcube``, or ``git+https://...`` with an optional ``#branch``.
        policy: What may be reached.
        progress: Called with (bytes done, bytes in all) of an archive.

    Raises:
        InvalidInput: No such address, or the answer is too large.
        Forbidden: It leads to an address that is not public.
        StoreError: It cannot be fetched.
    """
    with tempfile.TemporaryDirectory(prefix="memos-fetch-") as folder:
        if source.startswith(_GIT):
            yield _cloned(source.removeprefix(_GIT), Path(folder), policy)
        else:
            path = Path(folder) / "fetched.memcube"
            network.fetch(source, path, policy, progress)
            yield path


def _cloned(source: str, folder: Path, policy: Policy) -> Path:
    address, _, branch = source.partition("#")
    if branch.startswith("-"):
        raise InvalidInput("a branch begins with no dash", code="invalid_url")
    vetted = network.vet(address, policy)
    program = shutil.which("git")
    if program is None:
        raise ConfigError("the command git is not installed; install it to load from repositories")
    into = folder / "repository"
    command = [program]
    for option in (*_SAFE, _pinned(vetted)):
        command += ["-c", option]
    command += ["clone", "--quiet", "--depth=1", "--single-branch", "--no-tags", "--template="]
    command += [f"--branch={branch}"] if branch else []
    _run([*command, "--", address, str(into)], folder, policy)
    shutil.rmtree(into / ".git")
    return into


def _pinned(vetted: Vetted) -> str:
    """Return the option that keeps git from looking the host up again."""
    address = f"[{vetted.address}]" if ":" in vetted.address else vetted.address
    return f"http.curloptResolve={vetted.host}:{vetted.port}:{address}"


def _run(command: list[str], folder: Path, policy: Policy) -> None:
    environment = {
        "PATH": os.defpath,
        "HOME": str(folder),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }
    deadline = time.monotonic() + policy.timeout_s
    with (folder / "errors").open("w+b") as errors:
        git = subprocess.Popen(  # noqa: S603 - no shell, and the address stands behind --
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
        try:
            while git.poll() is None:
                _check(folder, deadline, policy)
                _wait(git)
        finally:
            git.kill()
            git.wait()
        _check(folder, deadline, policy)
        if git.returncode != 0:
            errors.seek(0)
            said = errors.read(2_000).decode("utf-8", "replace").strip().splitlines()
            raise StoreError(
                f"the repository cannot be cloned: {said[-1] if said else 'git failed'}",
                service="git",
                code="git_failed",
            )


def _wait(git: subprocess.Popen[bytes]) -> None:
    try:
        git.wait(_POLL_S)
    except subprocess.TimeoutExpired:
        return


def _check(folder: Path, deadline: float, policy: Policy) -> None:
    if time.monotonic() > deadline:
        raise StoreError(
            f"cloning took longer than {policy.timeout_s:g} s",
            service="git",
            retryable=True,
            code="git_failed",
        )
    sizes = (path.lstat().st_size for path in folder.rglob("*") if path.exists())
    if sum(sizes) > policy.max_bytes:
        raise InvalidInput(
            f"the repository is larger than {policy.max_bytes} bytes; raise "
            "network.max_megabytes if it is meant",
            code="too_large",
        )


def check_digest(given: str | None, found: str) -> None:
    """Refuse what is not what its receiver expects.

    Raises:
        DataError: The digests differ.
    """
    if given is not None and given.strip().lower() != found:
        raise DataError(
            f"the SHA-256 is {found}, and {given.strip().lower()} was expected; nothing was loaded",
            code="checksum",
        )
