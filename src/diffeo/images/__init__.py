"""Images as events (C, H, W): data, dequantisation, the published flows, bits per dimension."""

__all__: list[str] = []
