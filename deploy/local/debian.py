"""Programs from Debian's packages, unpacked beside the system and not installed into it.

A newer release's packages bring their own C library, so every program is started
through that release's loader. Nothing of the system is changed, and no rights are
needed: this works for root and for any user.
"""

import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.errors import DeployError

# what the packages depend on and a database server on a laptop does not use
_LEFT_OUT: Final = (
    "debconf",
    "libllvm",
    "libperl",
    "libz3",
    "perl",
    "postgresql-client-common",
    "postgresql-common",
    "systemd",
)
_LEFT_BEHIND: Final = ("usr/share/doc", "usr/share/locale", "usr/share/man")
_ELF: Final = b"\x7fELF"
_LIBC: Final = {"x86_64": "lib64/ld-linux-x86-64.so.2", "aarch64": "lib/ld-linux-aarch64.so.1"}

# $0 is the path that was executed, so that the folder may be moved
_WRAPPER: Final = """\
#!/bin/sh
here=${{0%/*}}
root=$here/{up}
exec "$root/{loader}" --library-path "$root/{libraries}" --argv0 "$0" "$here/{name}.real" "$@"
"""

Say = Callable[[str], None]


class PackagesUnavailable(DeployError):
    """This machine cannot fetch the packages."""


def unpack(packages: Sequence[str], release: str, folder: Path, say: Say) -> None:
    """Fetch packages with all that they depend on, and unpack them into a folder.

    Args:
        packages: Their names.
        release: The Debian release to take them from, such as ``trixie``.
        folder: Where to unpack; what was in it is deleted.
        say: Told what is going on, a line at a time.

    Raises:
        PackagesUnavailable: no apt-get, no such package, or no network.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PackagesUnavailable("this machine has no apt-get")
    shutil.rmtree(folder, ignore_errors=True)
    private = folder / ".apt"
    options = _private_root(private, release)
    say(f"reading the package lists of Debian {release}")
    _run(["apt-get", *options, "update"])
    say(f"fetching {', '.join(packages)}, with what they depend on")
    _run(["apt-get", *options, "--yes", "--download-only", "install", *packages])
    archives = [
        archive
        for archive in sorted((private / "cache" / "archives").glob("*.deb"))
        if not archive.name.startswith(_LEFT_OUT)
    ]
    say(f"unpacking {len(archives)} packages")
    for archive in archives:
        _run(["dpkg-deb", "--extract", str(archive), str(folder)])
    for path in (private, *(folder / left for left in _LEFT_BEHIND)):
        shutil.rmtree(path, ignore_errors=True)
    folder.chmod(0o755)  # it came out of our umask, and the server runs as another user


def wrap(programs: Path, root: Path) -> None:
    """Make each program of a folder start through the loader and libraries below `root`."""
    loader = "usr/" + _LIBC[platform.machine()]
    libraries = f"usr/lib/{platform.machine()}-linux-gnu"
    for program in list(_binaries(programs)):
        program.rename(program.with_name(program.name + ".real"))
        program.write_text(
            _WRAPPER.format(
                up=os.path.relpath(root, programs),
                loader=loader,
                libraries=libraries,
                name=program.name,
            )
        )
        program.chmod(0o755)


def _binaries(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        with path.open("rb") as program:
            if program.read(len(_ELF)) == _ELF:
                yield path


def _private_root(private: Path, release: str) -> Sequence[str]:
    """Options that make apt-get work below `private`, from the machine's own sources.

    The system's own apt configuration stays in force: its proxies and credentials are
    what makes the sources reachable.
    """
    sources = private / "sources"
    for path in (sources, private / "lists" / "partial", private / "cache/archives/partial"):
        path.mkdir(parents=True)
    (private / "status").touch()  # nothing is installed: everything is fetched
    for name, text in _sources(release).items():
        (sources / name).write_text(text)
    settings = {
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",  # it could not write here
        "Acquire::Check-Valid-Until": "false",  # snapshots and mirrors that lag behind
        "Acquire::Languages": "none",
        "Debug::NoLocking": "true",
        "Dir::Cache": str(private / "cache"),
        "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": str(sources),
        "Dir::State": str(private),
        "Dir::State::lists": str(private / "lists"),
        "Dir::State::status": str(private / "status"),
    }
    return ["--quiet", *(f"--option={name}={value}" for name, value in settings.items())]


def _sources(release: str) -> Mapping[str, str]:
    """The machine's own sources, with the release's name replaced."""
    system = platform.freedesktop_os_release()
    codename = system.get("VERSION_CODENAME", "")
    if system.get("ID") != "debian" or not codename:
        raise PackagesUnavailable(f"{system.get('PRETTY_NAME', 'this system')} is not Debian")
    modern = Path("/etc/apt/sources.list.d/debian.sources")
    if modern.exists():
        return {"debian.sources": modern.read_text().replace(codename, release)}
    lines = Path("/etc/apt/sources.list").read_text().splitlines()
    wanted = [line.replace(codename, release) for line in lines if codename in line]
    return {"debian.list": "\n".join([*wanted, ""])}


def _run(argv: Sequence[str]) -> None:
    done = subprocess.run(
        argv,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg"))]
        reason = " ".join(said[:2]) or f"ended with status {done.returncode}"
        raise PackagesUnavailable(f"{argv[0]} failed: {reason}")
