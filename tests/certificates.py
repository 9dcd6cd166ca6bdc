"""A certificate that nobody has signed, for servers on loopback."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def unsigned(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's side of TLS for `localhost`, and the file of its certificate."""
    made = "req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -days 3 -subj /CN=localhost"
    name = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    subprocess.run(["openssl", *made.split(), *name], cwd=folder, check=True, capture_output=True)  # noqa: S603, S607
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "c.pem", folder / "k.pem")
    return context, folder / "c.pem"
