from expect import near, raises
from modulo import modulo


def test_modulo_gives_the_remainder():
    assert modulo(17, 5) == 2
    assert near(modulo(7.5, 2), 1.5)


def test_modulo_takes_the_sign_of_the_divisor():
    assert modulo(-7, 3) == 2
    assert modulo(7, -3) == -2


def test_modulo_by_zero_is_refused():
    assert raises(ValueError, modulo, 5, 0)
