"""What a GPU is measured with: `python -m bench.gpu`."""
