"""Results in other people's formats: Harbor's tasks, jobs and trials, and ATIF trajectories."""
