"""Bytes to move."""

import random


def noise(size, seed=1):
    """Bytes that can't be packed, the same each time."""
    return random.Random(seed).randbytes(size)


def pattern(size):
    """The bytes of the published vectors: the index modulo 251."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]
