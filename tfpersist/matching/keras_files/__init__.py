"""Names, layers and roles of the tensors in HDF5 files of Keras."""
