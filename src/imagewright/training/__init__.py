"""Training: a Lightning module around any network, its schedules, and what it runs on."""
