"""The notebooks' experiments, one module for each."""
