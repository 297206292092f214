"""What is asked of layers that are not ours: is it the block, and if not, where and why."""
