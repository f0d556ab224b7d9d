from mean import mean
from std_dev import std_dev


def z_score(x: float, lst: list) -> float:
    """Return how many standard deviations x lies from the mean of a list."""
    spread = std_dev(lst)
    if spread == 0:
        raise ValueError("all values are equal: there is no spread to measure by")
    return (x - mean(lst)) / spread
