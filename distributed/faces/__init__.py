"""Other ways to work with the same wire, keys and processes: Center and Pool; a manager whose user schedules."""
