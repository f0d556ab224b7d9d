"""What others have published, measured with our machines: each study says what, and from where."""
