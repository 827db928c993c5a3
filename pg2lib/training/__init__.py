"""Training of stage I, of stage II and of the one-stage model: loops, checkpoints, logs, and whole runs."""
