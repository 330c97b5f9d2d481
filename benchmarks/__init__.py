"""Ours against a plain, readable reference of the same algorithm, side by side in one run: `make bench`."""
