from filter_outliers import filter_outliers
from mean import mean


def trimmed_mean(lst: list, threshold: float = 2.0) -> float:
    """Return the mean of what is left when outliers are removed."""
    kept = filter_outliers(lst, threshold)
    if not kept:
        raise ValueError("every value is an outlier")
    return mean(kept)
