"""Live models: whose parameters are whose, proven by running both, and carried over."""
