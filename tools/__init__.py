"""Tools around the product: set-up, demo, rendering and check of the deployment files, screenshots."""
