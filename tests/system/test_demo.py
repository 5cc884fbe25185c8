"""The story that `make demo-billing` tells is true."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from tests.demo.story import tell


async def test_the_story_is_told_to_its_end(tmp_path: Path) -> None:
    said = StringIO()

    await tell(tmp_path / "home", Console(file=said, width=120))

    story = said.getvalue()
    assert "[200, 200, 200, 429]" in story
    assert "past_due" in story
    assert story.count("nothing differs") == 2
    assert "The end" in story
