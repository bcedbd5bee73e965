"""What `fer-agent calibrate` measures in a room."""
