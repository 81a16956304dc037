"""What the HDF5 files of Keras say of their tensors."""
