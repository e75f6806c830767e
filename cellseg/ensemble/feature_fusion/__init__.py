"""Feature fusion: small networks that correct the members' evidence with the help of their features."""
