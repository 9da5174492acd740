"""Training: one readable loop a task, one configuration file, checkpoints that survive anything."""
