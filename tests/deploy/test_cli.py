from typer.main import get_command

from deploy.cli import app


def test_typer_understands_every_command() -> None:
    """What it does not understand in one of them, none of them starts with."""
    assert get_command(app)
