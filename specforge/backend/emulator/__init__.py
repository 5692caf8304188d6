"""Runs rendered CUDA source on the CPU: a fibre per thread, CUDA's execution model. It measures nothing."""
