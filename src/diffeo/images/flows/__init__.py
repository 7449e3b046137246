"""The image flows as published, each ``f(shape, context=0, **settings)`` of a shape (C, H, W)."""

__all__: list[str] = []
