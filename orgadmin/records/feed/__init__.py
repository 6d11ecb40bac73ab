"""Recent activity: what happened recently, from several logs."""
