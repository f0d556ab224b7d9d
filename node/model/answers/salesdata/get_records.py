SALES_RECORDS = [
    {"product": "Lantern", "units": 14, "price": 18.5, "region": "Harbour", "month": "Apr"},
    {"product": "Kettle", "units": 6, "price": 42.0, "region": "Valley", "month": "Apr"},
    {"product": "Blanket", "units": 9, "price": 27.25, "region": "Hills", "month": "Apr"},
    {"product": "Teapot", "units": 2, "price": 31.0, "region": "Coast", "month": "Apr"},
    {"product": "Kettle", "units": 11, "price": 42.0, "region": "Hills", "month": "May"},
    {"product": "Lantern", "units": 3, "price": 18.5, "region": "Valley", "month": "May"},
    {"product": "Blanket", "units": 0, "price": 27.25, "region": "Harbour", "month": "May"},
    {"product": "Teapot", "units": 13, "price": 31.0, "region": "Harbour", "month": "May"},
    {"product": "Kettle", "units": 8, "price": 42.0, "region": "Coast", "month": "Jun"},
    {"product": "Blanket", "units": 16, "price": 27.25, "region": "Valley", "month": "Jun"},
    {"product": "Lantern", "units": 5, "price": 18.5, "region": "Hills", "month": "Jun"},
    {"product": "Teapot", "units": 4, "price": 31.0, "region": "Valley", "month": "Jun"},
]


def get_records() -> list:
    """Return all sales records, the invalid one included."""
    return SALES_RECORDS
