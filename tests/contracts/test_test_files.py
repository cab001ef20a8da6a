"""What pytest needs of our test files."""

from collections import Counter
from pathlib import Path


def test_every_test_file_has_a_name_of_its_own():
    """Two of one name cannot be collected together: each is imported by its name alone."""
    names = Counter(path.name for path in Path(__file__).parents[1].rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []
