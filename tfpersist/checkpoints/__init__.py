"""What a checkpoint is made of: its files, their places, their order, and what becomes of them."""
