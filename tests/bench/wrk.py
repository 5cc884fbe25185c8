"""The load generator: wrk, from Debian's package, unpacked into the environment."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.local import debian

PREFIX: Final = Path(sys.prefix) / "lib" / "tollgate-wrk"
BINARY: Final = PREFIX / "usr" / "bin" / "wrk"

SCRIPT: Final = """
local headers, next_one = {{ {headers} }}, 0
request = function()
  next_one = next_one % #headers + 1
  return wrk.format("POST", "{path}", headers[next_one], '{body}')
end
"""
EACH: Final = """
local requests, next_one = {{}}, 0
for line in io.lines("{lines}") do
  local value, body = line:match("^(%S+) (.*)$")
  local headers = {{ ["Content-Type"] = "application/json", ["{header}"] = value }}
  requests[#requests + 1] = {{ headers, body }}
end
request = function()
  next_one = next_one % #requests + 1
  return wrk.format("POST", "{path}", requests[next_one][1], requests[next_one][2])
end
"""
SUMMARY: Final = """
done = function(summary, latency, _)
  io.write(string.format(
    '\\n{"completed": %d, "refused": %d, "broken": %d, "seconds": %f, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.errors.status,
    summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
"""


class Measured(Struct, frozen=True, kw_only=True):
    """One run of wrk."""

    completed: int
    refused: int  # answers that were not 2xx
    broken: int
    seconds: float
    p50: float  # milliseconds
    p99: float

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.completed / self.seconds


def install() -> None:
    """Put wrk into the environment, once."""
    if not BINARY.exists():
        part = PREFIX.with_name(".part-" + PREFIX.name)
        debian.unpack(["wrk"], "trixie", part, lambda line: print(line, file=sys.stderr))
        debian.wrap(part / "usr" / "bin", part)
        part.rename(PREFIX)


def script(folder: Path, name: str, *, keys: Sequence[str], path: str, body: str) -> Path:
    """A request of wrk's: the keys take turns."""
    headers = [{"Authorization": f"Bearer {key}"} for key in keys]
    return posting(folder, name, headers=headers, path=path, body=body)


def posting(
    folder: Path, name: str, *, headers: Sequence[Mapping[str, str]], path: str, body: str
) -> Path:
    """A request of wrk's: the headers take turns."""
    json_ = {"Content-Type": "application/json"}
    tables = [
        ", ".join(f'["{key}"] = "{value}"' for key, value in (json_ | dict(one)).items())
        for one in headers
    ]
    quoted = ", ".join(f"{{ {table} }}" for table in tables)
    file = folder / f"{name}.lua"
    file.write_text(SCRIPT.format(headers=quoted, path=path, body=body) + SUMMARY)
    return file


def posting_each(
    folder: Path, name: str, *, header: str, requests: Sequence[tuple[str, bytes]], path: str
) -> Path:
    """Requests of wrk's, one after the other: a header's value without spaces, and a body."""
    lines = folder / f"{name}.txt"
    lines.write_bytes(b"".join(b"%s %s\n" % (value.encode(), body) for value, body in requests))
    file = folder / f"{name}.lua"
    file.write_text(EACH.format(lines=lines, header=header, path=path) + SUMMARY)
    return file


async def run(url: str, script: Path, *, connections: int, seconds: int) -> Measured:
    """Drive a server; one thread, so that the other core is the server's."""
    process = await asyncio.create_subprocess_exec(
        BINARY,
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds}s",
        "--timeout=10s",
        f"--script={script}",
        url,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return Measured(**json.loads(output.decode().strip().splitlines()[-1]))
