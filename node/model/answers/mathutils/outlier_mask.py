from normalize import normalize


def outlier_mask(lst: list, threshold: float = 2.0) -> list:
    """Return, for every element, whether its z-score lies beyond the threshold."""
    return [abs(z) > threshold for z in normalize(lst)]
