"""One script of calls, the same for every cloud: each scenario makes what it needs and asks about nothing else."""
