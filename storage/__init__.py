"""What must survive a restart: SQLite rows and content-addressed audio files. Knows neither Discord nor the engine."""
