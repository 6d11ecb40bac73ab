"""Recent activity: what has happened lately, from several logs."""
