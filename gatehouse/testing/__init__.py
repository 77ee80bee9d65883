"""What tests of an extension need: the product, and rules to hold an extension to."""
