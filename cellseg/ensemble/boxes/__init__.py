"""Box fusion: raw boxes of several members become common ones, and windows around them."""
