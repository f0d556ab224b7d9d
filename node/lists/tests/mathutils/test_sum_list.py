from expect import near, raises
from sum_list import sum_list


def test_sum_list_adds_all_elements():
    assert sum_list([3, 8, -1]) == 10
    assert near(sum_list([0.5, 1.25, 2.5]), 4.25)


def test_sum_list_of_nothing_is_zero():
    assert sum_list([]) == 0.0


def test_sum_list_refuses_elements_that_are_no_numbers():
    assert raises(TypeError, sum_list, [1, "2"])
