"""What the server is made of: environment, model loading, hooks, and the factory that joins them (``glue:make``)."""
