"""What a docstring says of a function and its parameters, in three styles."""

from __future__ import annotations

import pytest

from orchestify.tools.docstrings import described

GOOGLE = """Look up a city.

    It may take a while.

    Args:
        city: Its name,
            as people write it.
        days (int, optional): How many: at most 7.

    Returns:
        city: not a parameter.
    """
NUMPY = """Look up a city.

    It may take a while.

    Parameters
    ----------
    city : str
        Its name,
        as people write it.
    days
        How many: at most 7.

    Returns
    -------
    str
        city : not a parameter
    """
SPHINX = """Look up a city.

    It may take a while.

    :param city: Its name,
        as people write it.
    :param int days: How many: at most 7.
    :returns: city: not a parameter
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_a_docstring_describes_the_function_and_its_parameters(docstring: str) -> None:
    about, parameters = described(docstring)
    assert about == "Look up a city.\n\nIt may take a while."
    assert parameters == {
        "city": "Its name, as people write it.",
        "days": "How many: at most 7.",
    }


@pytest.mark.parametrize("docstring", [None, "", "   \n  "])
def test_no_docstring_says_nothing(docstring: str | None) -> None:
    assert described(docstring) == ("", {})


def test_a_docstring_without_sections_is_the_description() -> None:
    assert described("Add: two numbers.\n\nNote: whole ones.") == (
        "Add: two numbers.\n\nNote: whole ones.",
        {},
    )
