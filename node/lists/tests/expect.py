"""What the verification tests say beyond a plain assert, without a test framework.

Each of these raises AssertionError with its own words, so that a failure tells what came instead.
"""

import sys
from types import ModuleType

TOLERANCE = 1e-9


def near(got, expected):
    """True if `got` is `expected` but for rounding."""
    if abs(got - expected) > TOLERANCE * max(1.0, abs(expected)):
        raise AssertionError(f"expected {expected!r}, got {got!r}")
    return True


def raises(error, function, *arguments):
    """True if the call raises `error`."""
    call = f"{function.__name__}({', '.join(map(repr, arguments))})"
    try:
        result = function(*arguments)
    except error:
        return True
    except Exception as other:
        raise AssertionError(
            f"{call} should raise {error.__name__}, raised {type(other).__name__}: {other}"
        ) from other
    raise AssertionError(f"{call} should raise {error.__name__}, returned {result!r}")


class staged:
    """The function `name`, read afresh, in a world where the named modules hold one function each
    that returns the value given here:

        with staged("add_revenue", remove_invalid=ORDERS) as add_revenue:
            assert add_revenue() == ...
    """

    def __init__(self, name, **returned):
        self.name = name
        self.returned = returned
        self.kept = {}

    def __enter__(self):
        for name in (self.name, *self.returned):
            self.kept[name] = sys.modules.pop(name, None)
        for name, value in self.returned.items():
            sys.modules[name] = self.stand_in(name, value)
        try:
            return getattr(__import__(self.name), self.name)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *fault):
        for name, module in self.kept.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module

    @staticmethod
    def stand_in(name, value):
        """A module with the function `name`, which returns `value`."""
        module = ModuleType(name)
        setattr(module, name, lambda: value)
        return module
