"""The mirror as a visitor meets it: pictures of its pages, and Lighthouse's figures, made from the demo."""
