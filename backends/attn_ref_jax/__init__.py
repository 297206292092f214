"""JAX: what traces layers that are written in it. There are no mirrors in JAX but those of Keras."""
