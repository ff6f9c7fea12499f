"""A certificate of the simulator's own, made when it starts and gone when it stops."""

from __future__ import annotations

import importlib
import shutil
import ssl
import subprocess
from importlib.util import find_spec
from pathlib import Path

from taximeter.errors import ConfigError

_NAMES = ("localhost", "127.0.0.1", "::1")
_SECONDS = 30


def server_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """A context to serve TLS with, and the file with the certificate that clients are to trust.

    Made by ``trustme`` where that is installed, else by the program ``openssl``.

    Args:
        folder: where the files are put.

    Raises:
        ConfigError: where there is neither, or it failed.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    trusted = folder / "simulator-ca.pem"
    if find_spec("trustme") is not None:
        authority = importlib.import_module("trustme").CA()
        authority.issue_cert(*_NAMES).configure_cert(context)
        authority.cert_pem.write_to_path(str(trusted))
        return context, trusted
    program = shutil.which("openssl")
    if program is None:
        msg = "TLS needs a certificate: install the Python package trustme, or the program openssl"
        raise ConfigError(msg)
    key = folder / "simulator-key.pem"
    _openssl(program, key, trusted)
    context.load_cert_chain(trusted, key)
    return context, trusted


def _openssl(program: str, key: Path, certificate: Path) -> None:
    names = ",".join(f"{'DNS' if name == 'localhost' else 'IP'}:{name}" for name in _NAMES)
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=localhost"]
    command += ["-addext", f"subjectAltName={names}", "-keyout", str(key), "-out", str(certificate)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - all ours
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"TLS needs a certificate, and openssl could not be run: {error}"
        raise ConfigError(msg) from error
    if done.returncode:
        msg = f"TLS needs a certificate, and openssl made none: {done.stderr.strip()[-300:]}"
        raise ConfigError(msg)
