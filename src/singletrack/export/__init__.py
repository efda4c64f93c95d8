"""A trained network as a file that engines without PyTorch can run, checked after writing."""
