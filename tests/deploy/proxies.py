"""Real proxies, started with the files of deploy/proxies."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from msgspec import Struct

from deploy.local import debian
from deploy.local.locks import locked
from deploy.local.ports import free_port
from tests.waiting import PATIENCE_S

FILES: Final = Path(__file__).parents[2] / "deploy" / "proxies"
PREFIX: Final = Path(sys.prefix) / "lib" / "tollgate-proxies"
INSTALL_S: Final = 300.0

# nginx.conf is a piece of an http block: this is the rest of it
NGINX: Final = """
daemon off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    include {conf};
}}
"""


class Proxy(Struct, frozen=True):
    """How one is started: its files are in the working directory."""

    name: str
    files: Sequence[str]
    argv: Callable[[Path], Sequence[str]]


def _nginx(folder: Path) -> Sequence[str]:
    (folder / "main.conf").write_text(NGINX.format(conf=folder / "nginx.conf"))
    return str(PREFIX / "usr/sbin/nginx"), "-p", str(folder), "-c", str(folder / "main.conf")


PROXIES: Final = (
    Proxy("nginx", ["nginx.conf"], _nginx),
    Proxy(
        "caddy",
        ["Caddyfile"],
        lambda folder: (
            str(PREFIX / "usr/bin/caddy"),
            "run",
            "--adapter=caddyfile",
            f"--config={folder / 'Caddyfile'}",
        ),
    ),
    Proxy(
        "traefik",
        ["traefik.toml", "traefik-dynamic.toml"],
        lambda folder: (
            str(Path(sys.prefix) / "bin" / "traefik"),
            f"--configFile={folder / 'traefik.toml'}",
        ),
    ),
)


def install() -> None:
    """Put Debian's nginx and Caddy into the environment, once; Traefik comes with pip."""
    with locked(PREFIX.with_suffix(".lock"), within_s=INSTALL_S):
        if PREFIX.exists():
            return
        part = PREFIX.with_name(".part-" + PREFIX.name)
        debian.unpack(["nginx-light", "caddy"], "trixie", part, print)
        for programs in ("usr/sbin", "usr/bin"):
            debian.wrap(part / programs, part)
        part.rename(PREFIX)


@contextmanager
def started(proxy: Proxy, folder: Path, *, edge: int, api: int) -> Iterator[int]:
    """A proxy between a port of its own and an API, asking an edge; its port."""
    port = free_port()
    addresses = {8000: port, 8080: edge, 9000: api}
    for file in proxy.files:
        text = (FILES / file).read_text()
        (folder / file).write_text(
            re.sub(
                r"127\.0\.0\.1:(8000|8080|9000)",
                lambda found: f"127.0.0.1:{addresses[int(found[1])]}",
                text,
            )
        )
    log = (folder / "proxy.log").open("wb")
    process = subprocess.Popen(
        proxy.argv(folder),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )
    try:
        yield port
    finally:
        process.terminate()
        process.wait(30)
        log.close()


async def asks(port: int) -> bool:
    """Whether it is up, and has learned to ask: a stranger is refused."""
    async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}/")).status_code == 401
        except httpx.TransportError:
            return False
