"""Pure functions over what is kept: compare (is A faster?), standing (who leads?), roofline. No clock, no file."""
