"""Third-party torch layers under test: how to build one from a block and give it the block's weights."""
