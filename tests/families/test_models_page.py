"""docs/models.md says of every family what the registry says."""

from pathlib import Path

from support.models_page import write

PAGE = Path(__file__).parents[2] / "docs" / "models.md"


def test_the_page_is_up_to_date():
    """To write it anew: PYTHONPATH=tests python -m support.models_page > docs/models.md."""
    assert PAGE.read_text(encoding="utf-8") == write()
