"""No input kills a worker: hostile messages, control commands and options, on real parts."""
