"""What measuring needs: a private Redis, a worker seen from outside, a producer, and clocks."""
