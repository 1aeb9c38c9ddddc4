"""Where trials run: in this process, in processes beside it, on a Ray cluster, or under Slurm."""
