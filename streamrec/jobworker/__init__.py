"""The process that does the jobs: procrastinate's worker under a watchdog and a sweeper."""
