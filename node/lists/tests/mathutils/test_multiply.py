from multiply import multiply


def test_multiply_gives_the_product():
    assert multiply(6, 7) == 42
    assert multiply(-1.5, 4) == -6.0
    assert multiply(13, 0) == 0
