"""What a layer computes that nobody has touched: its values, their lines, and the taps of a block among them."""
