"""SpecForge: CUDA kernel specs in YAML, proven or failed."""

__version__ = "0.1.0"
