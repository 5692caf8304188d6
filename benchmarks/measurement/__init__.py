"""What SpecForge's measurements are worth, shown on a card: against other tools, against known truth, under attack."""
