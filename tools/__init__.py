"""Tools around the product: set-up, demo, local run, deployment check, screenshots."""
