"""What README and docs/ tell to type works when it is typed."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from edge.documentation.variables import VARIABLES, needed
from tests.examples.prose import LOCAL, ROOT, Block, blocks, documents
from tests.examples.recorder import Recorder, recording
from tests.system.system import System
from tests.waiting import PATIENCE_S

BLOCKS = [block for path in documents() for block in blocks(path)]


async def test_every_call_in_the_documents_works(system: System, tmp_path: Path) -> None:
    complaints = []
    with recording(system.url) as recorder:
        for block in BLOCKS:
            if not block.why:
                complaints += await _run(block, system, recorder, tmp_path)

    assert not complaints
    assert {block.path.name for block in BLOCKS} >= {"README.md", "usage.md", "receipts.md"}


@pytest.mark.parametrize(
    "wrong", ['curl "$TOLLGATE_URL/v1/nothing"', "curl --no-such-option", "curl 'http://"]
)
async def test_a_call_that_does_not_work_is_found(
    system: System, tmp_path: Path, wrong: str
) -> None:
    """The control."""
    with recording(system.url) as recorder:
        assert await _run(Block(ROOT / "README.md", 1, wrong, ""), system, recorder, tmp_path)


async def _run(block: Block, system: System, recorder: Recorder, folder: Path) -> list[str]:
    """Type it where `make up` was run, and say what went wrong."""
    for name, what in ((".tollgate", system.home), (".venv", Path(sys.prefix))):
        if not (folder / name).exists():
            (folder / name).symlink_to(what)
    url = recorder.url(str(block).replace("/", "-"))
    typed = block.text.replace(LOCAL, url).replace("tg_...", system.api_key)
    # a variable of ours has another value here than in the document
    text = "\n".join(line for line in typed.splitlines() if line.partition("=")[0] not in VARIABLES)
    before = [variable.shell for variable in needed(text) if not variable.own]
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        "\n".join(["set -e", *before, text]),
        cwd=folder,
        env={
            **os.environ,
            "PATH": os.pathsep.join((str(Path(sys.prefix) / "bin"), os.environ["PATH"])),
            "TOLLGATE_URL": url,
            "TOLLGATE_KEY": system.api_key,
            "TOLLGATE_HOME": str(system.home),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    # the last answer of each path: those before may wait for what is not there yet
    answers = {one.path: one.status for one in recorder.of(url.rpartition("~")[2])}
    if process.returncode == 0 and answers and all(status < 300 for status in answers.values()):
        return []
    told = f"exit status {process.returncode}, answers {answers}"
    return [f"{block}: {told}\n{output.decode()[-800:]}"]
