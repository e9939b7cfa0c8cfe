import inspect

import pytest

from edgewise import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]


def test_the_docstring_draws_the_whole_tree():
    for kind in KINDS:
        assert kind.__name__ in errors.__doc__
        assert issubclass(kind, errors.EdgewiseError)


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.GraphError, ValueError),
        (errors.ModelError, ValueError),
        (errors.NonFiniteError, ArithmeticError),
        (errors.LostProcessError, RuntimeError),
        (errors.DiskError, OSError),
    ],
)
def test_errors_are_also_the_builtin_kind_a_caller_may_expect(kind, builtin):
    with pytest.raises(builtin, match="what came"):
        raise kind("what came")
