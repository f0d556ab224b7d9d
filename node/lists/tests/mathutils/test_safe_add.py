from expect import raises
from safe_add import safe_add


def test_safe_add_sums_numbers():
    assert safe_add(4, 9) == 13
    assert safe_add(1.5, -2) == -0.5


def test_safe_add_refuses_operands_that_are_no_numbers():
    assert raises(TypeError, safe_add, "4", 9)
    assert raises(TypeError, safe_add, 4, "9")
    assert raises(TypeError, safe_add, "4", "9")
    assert raises(TypeError, safe_add, [4], [9])
    assert raises(TypeError, safe_add, 4, None)
    assert raises(TypeError, safe_add, 4, 9j)
