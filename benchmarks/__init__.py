"""What the system costs. Each file that can be run prints one table; docs/performance.md says what it means."""
